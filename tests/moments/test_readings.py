"""All readings of one product in one pass, against each by itself on matrices made for it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.moments import engine
from fsrl.moments import plan as moments_plan
from fsrl.moments import products as moments_products
from fsrl.moments import sweep as moments_sweep
from fsrl.moments import vocabulary as moments_vocabulary
from fsrl.moments.formulas import row_moments
from fsrl.moments.readings import Reading
from fsrl.weights import matrices as weights
from tests.fixtures.moment_examples import assert_same_bytes, random_matrices, tiles, varied_matrices

SHAPE = ("skewness", "kurtosis", "bimodality")
EXACT = ("top_ids", "bottom_ids", "underflow", "counts", "overflow")
IN_UNITS = ("mean", "std", "top_weights", "bottom_weights")
VIEWS = {
    "trained": {"w_u": "folded", "tokens": "trained", "cosine": False},
    "main": {"w_u": "folded", "tokens": "all", "cosine": False},
    "raw": {"w_u": "raw"},
    "cosine": {"cosine": True},
    "raw trained cosine": {"w_u": "raw", "tokens": "trained", "cosine": True},
}


def made(W_dec, W_U, reading):
    """The two matrices of a reading, in float64: the slow and obvious way."""
    W_dec, W_U = W_dec.double(), W_U.double()
    W_U = W_U if reading.columns is None else W_U[:, reading.columns]
    if reading.cosine:
        W_U = W_U - W_U.mean(1, keepdim=True)
        W_U = W_U / W_U.norm(dim=0)
        W_dec = W_dec / W_dec.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return W_dec, W_U


def assert_agree(result, expected, tolerance):
    """What has a unit, in that of each row's largest weight."""
    assert result.d_vocab == expected.d_vocab
    largest = torch.maximum(expected.top_weights[:, :1], -expected.bottom_weights[:, :1]).abs()
    unit = largest.masked_fill(largest == 0, 1.0)
    for name in (*IN_UNITS, *SHAPE, "norm"):
        ours, theirs = getattr(result, name), getattr(expected, name)
        if name in IN_UNITS:
            ours, theirs = (found.view(len(unit), -1) / unit for found in (ours, theirs))
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True, msg=name)
    for name in EXACT:
        assert torch.equal(getattr(result, name), getattr(expected, name)), name


def some_readings(d_vocab, seed=0):
    generator = torch.Generator().manual_seed(seed)
    chosen = [(torch.rand(d_vocab, generator=generator) < share).nonzero().squeeze(1) for share in (0.9, 0.2)]
    return [Reading(chosen[0]), Reading(), Reading(cosine=True), Reading(chosen[1], cosine=True)]


@st.composite
def products(draw):
    """Float64 matrices, a row of zeros among them, and readings of any tokens."""
    n, d_model, d_vocab = draw(st.integers(1, 5)), draw(st.integers(2, 6)), draw(st.integers(3, 80))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    W_dec = torch.randn(n, d_model, dtype=torch.float64, generator=generator)
    W_dec[-1] *= draw(st.sampled_from([0.0, 1e-6, 1e6]))
    W_U = torch.randn(d_model, d_vocab, dtype=torch.float64, generator=generator) + draw(st.floats(-5, 5))
    W_U *= (torch.rand(d_vocab, dtype=torch.float64, generator=generator) * draw(st.floats(0, 3))).exp()
    readings = []
    for cosine in draw(st.lists(st.booleans(), min_size=1, max_size=4)):
        kept = draw(st.sets(st.integers(0, d_vocab - 1), min_size=3 if cosine else 1) | st.none())
        readings.append(Reading(None if kept is None else torch.tensor(sorted(kept)), cosine))
    return W_dec, W_U, readings


@settings(max_examples=40, deadline=None, derandomize=True)
@given(products(), st.integers(1, 6), st.integers(1, 90))
def test_one_pass_gives_what_each_reading_gives_by_itself(product, features, tokens):
    W_dec, W_U, readings = product
    with tiles(features, tokens):
        found = engine.logit_moments_of_readings(W_dec, W_U, readings, precision="fp64", n_bins=17)
        for reading, result in zip(readings, found, strict=True):
            alone = engine.logit_moments(*made(W_dec, W_U, reading), precision="fp64", n_bins=17)
            assert_agree(result, alone, 1e-10)


@pytest.mark.parametrize("number", range(4))
def test_weights_like_a_models_agree_to_1e_12(number):
    W_dec, W_U = varied_matrices()
    reading = some_readings(W_U.shape[1])[number]
    (result,) = engine.logit_moments_of_readings(W_dec, W_U, [reading], precision="fp64")
    assert_agree(result, engine.logit_moments(*made(W_dec, W_U, reading), precision="fp64"), 1e-12)


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
def test_order_company_threads_and_panels_change_no_byte(precision, monkeypatch):
    W_dec, W_U = random_matrices(n=50, d_model=20, d_vocab=1001)
    readings = some_readings(1001)
    before = torch.get_num_threads()
    with tiles(16, 64):
        try:
            torch.set_num_threads(1)
            expected = engine.logit_moments_of_readings(W_dec, W_U, readings, precision=precision)
            alone = [
                engine.logit_moments_of_readings(W_dec, W_U, [reading], precision=precision)[0]
                for reading in readings
            ]
            torch.set_num_threads(3)
            monkeypatch.setattr(moments_plan, "panel_tokens", lambda *_: 5 * 64)
            turned = engine.logit_moments_of_readings(
                W_dec, W_U, [*readings[::-1], Reading()], precision=precision
            )
        finally:
            torch.set_num_threads(before)
        plain = engine.logit_moments(W_dec, W_U, precision=precision)
    for number, result in enumerate(expected):
        assert_same_bytes(alone[number], result)
        assert_same_bytes(turned[3 - number], result)
    assert_same_bytes(expected[1], plain)
    assert_same_bytes(turned[4], plain)


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_torch_and_compiled_code_read_the_same_bytes(precision, monkeypatch):
    W_dec, W_U = random_matrices(n=20, d_vocab=700)
    readings = some_readings(700)
    assert moments_sweep.read_for(torch.device("cpu")) is not moments_sweep.torch_read
    with tiles(16, 64):
        compiled = engine.logit_moments_of_readings(W_dec, W_U, readings, precision=precision)
        monkeypatch.setattr(moments_sweep, "read_for", lambda device: moments_sweep.torch_read)
        plain = engine.logit_moments_of_readings(W_dec, W_U, readings, precision=precision)
    for ours, theirs in zip(compiled, plain, strict=True):
        assert_same_bytes(ours, theirs)


def test_a_sweep_that_overwrites_its_tile_spoils_no_other_reading(monkeypatch):
    W_dec, W_U = random_matrices(n=20, d_vocab=700)
    readings = [Reading(), *some_readings(700), Reading()]
    with tiles(16, 64):
        compiled = engine.logit_moments_of_readings(W_dec, W_U, readings, precision="fp64")
        monkeypatch.setattr(moments_sweep, "sweep_for", lambda device: moments_sweep.torch_sweep)
        plain = engine.logit_moments_of_readings(W_dec, W_U, readings, precision="fp64")
    for ours, theirs in zip(plain, compiled, strict=True):
        assert_agree(ours, theirs, 1e-12)


def test_a_machine_without_numba_reads_in_torch(monkeypatch):
    monkeypatch.setattr(moments_sweep, "_compiled", lambda: moments_sweep.torch_sweep)
    assert moments_sweep.read_for(torch.device("cpu")) is moments_sweep.torch_read


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
def test_rows_that_are_constant_over_the_kept_tokens_have_no_shape(precision):
    """Tokens 0 to 99 differ in the first coordinate, all others are alike there."""
    generator = torch.Generator().manual_seed(0)
    W_U = torch.randn(3, 900, generator=generator)
    W_U[0, 100:] = 0.7
    W_dec = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
    kept = Reading(torch.arange(100, 900))
    both = engine.logit_moments_of_readings(W_dec, W_U, [kept, Reading()], precision=precision)
    for result, constant in zip(both, ([True, True, False], [False, True, False]), strict=True):
        for name in SHAPE:
            assert getattr(result, name).isnan().tolist() == constant, name
        assert (result.std == 0).tolist() == constant
    assert both[0].mean[:2].tolist() == pytest.approx([2.1, 0.0], rel=1e-6)
    assert both[0].counts[:2, 25].tolist() == [800, 800]


def equal_columns(d_model):
    """W_dec and W_U, whose columns 1 to 200 are equal.

    Along these the terms of the first ten rows' products add up in step, of the others they cancel.
    """
    generator = torch.Generator().manual_seed(0)
    column = 1 + torch.rand(d_model, 1, generator=generator, dtype=torch.float64)
    W_dec = torch.rand(20, d_model, generator=generator, dtype=torch.float64)
    W_dec[10:] -= (W_dec[10:] @ column) * column.T / column.square().sum()
    return W_dec, torch.cat([-0.3 * column, column.expand(-1, 200), torch.zeros(d_model, 99)], dim=1)


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
def test_equal_columns_are_constant_however_the_rest_lies(precision):
    kept = Reading(torch.arange(1, 201))
    (found,) = engine.logit_moments_of_readings(*equal_columns(1024), [kept], precision=precision)
    assert (found.std == 0).all() and found.kurtosis.isnan().all()


def one_by_one(rows, columns):
    """rows @ columns as a processor may give it: term by term, for every other column from the last one."""
    result = torch.empty(len(rows), columns.shape[1], dtype=rows.dtype)
    for first, terms in ((0, range(rows.shape[1])), (1, reversed(range(rows.shape[1])))):
        some = columns[:, first::2]
        total = torch.zeros(len(rows), some.shape[1], dtype=rows.dtype)
        for term in terms:
            total.addcmul_(rows[:, term : term + 1], some[term])
        result[:, first::2] = total
    return result


@pytest.mark.parametrize("d_model", [64, 1024, 4096])
@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_equal_columns_are_constant_in_whatever_order_terms_are_added(precision, d_model, monkeypatch):
    monkeypatch.setattr(moments_products, "product", one_by_one)
    monkeypatch.setattr(moments_products, "pack", lambda columns, features: columns)
    W_dec, W_U = equal_columns(d_model)
    kept, every = engine.logit_moments_of_readings(
        W_dec, W_U, [Reading(torch.arange(1, 201)), Reading()], precision=precision
    )
    assert (kept.std == 0).all() and kept.kurtosis.isnan().all()
    # The rest of the vocabulary differs, and that is seen in the rows whose terms add up in step.
    kurtosis = float(row_moments(W_dec[:1] @ W_U)[0, 3])
    assert every.kurtosis[:10].tolist() == pytest.approx([kurtosis] * 10, rel=1e-5)


def test_one_token_and_all_tokens_named():
    W_dec, W_U = random_matrices(n=6, d_vocab=300)
    one, every = engine.logit_moments_of_readings(
        W_dec, W_U, [Reading(torch.tensor([123])), Reading(torch.arange(300))]
    )
    logits = W_dec.double() @ W_U[:, 123].double()
    assert one.mean.tolist() == pytest.approx(logits.tolist(), rel=1e-12)
    assert one.std.tolist() == [0.0] * 6 and one.kurtosis.isnan().all()
    assert one.top_ids.tolist() == [[0]] * 6 and one.counts[:, 25].tolist() == [1] * 6
    assert_same_bytes(every, engine.logit_moments(W_dec, W_U))


def test_cosines_have_rows_of_length_one_or_none():
    W_dec, W_U = random_matrices(n=5, d_vocab=200)
    W_dec[3] = 0
    (found,) = engine.logit_moments_of_readings(W_dec, W_U, [Reading(cosine=True)])
    assert found.norm.tolist() == [1, 1, 1, 0, 1]
    assert found.std[3] == 0 and found.kurtosis.isnan().tolist() == [False, False, False, True, False]
    assert found.top_weights.abs().max() <= 1


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        (Reading(torch.tensor([0, 30])), "must ascend and lie between 0 and 29"),
        (Reading(torch.tensor([-1, 3])), "must ascend and lie between 0 and 29"),
        (Reading(torch.tensor([4, 4])), "must ascend"),
        (Reading(torch.ones(30, dtype=torch.bool)), r"torch.bool \[30\]; they must be a list of int64"),
        (Reading(torch.tensor([], dtype=torch.int64)), "not empty"),
        (Reading(cosine=True), "token 17 lies at the vocabulary's mean"),
        (Reading(torch.tensor([3, 5, 8]), cosine=True), "token 5 lies at the vocabulary's mean"),
        (Reading(torch.tensor([11]), cosine=True), "token 11 lies at the vocabulary's mean"),
    ],
)
def test_what_cannot_be_read_is_refused(reading, message):
    W_dec, W_U = random_matrices(n=3, d_vocab=30)
    W_U = W_U.double()
    W_U[:, 5] = (W_U[:, 3] + W_U[:, 8]) / 2
    others = torch.arange(30) != 17
    W_U[:, 17] = W_U[:, others].mean(1)
    with tiles(16, 8), pytest.raises(FsrlError, match=message):
        engine.logit_moments_of_readings(W_dec, W_U, [Reading(), reading])


def small_study(trained=True):
    W_dec, folded = random_matrices(n=12, d_vocab=400)
    raw = random_matrices(d_vocab=400, seed=1)[1]
    known = torch.rand(400, generator=torch.Generator().manual_seed(2)) < 0.8 if trained else None
    unembedding = weights.Unembedding(folded, raw, tuple(map(str, range(400))), None, known, {})
    return weights.Decoder(W_dec, None, "hook", 0, "sae", {}), unembedding


def test_views_agree_with_the_matrices_that_a_view_makes():
    decoder, unembedding = small_study()
    found = engine.decoder_moments(decoder, unembedding, VIEWS, n_bins=31)
    assert list(found) == list(VIEWS)
    for name, view in VIEWS.items():
        matrices = weights.view(decoder, unembedding, **view)
        expected = engine.logit_moments(matrices.W_dec, matrices.W_U, n_bins=31)
        assert torch.equal(found[name].token_ids, matrices.token_ids)
        assert torch.equal(found[name].moments.top_ids, expected.top_ids)
        for column in ("std", "norm", *SHAPE):
            ours, theirs = getattr(found[name].moments, column), getattr(expected, column)
            torch.testing.assert_close(ours, theirs, rtol=3e-6, atol=3e-6, msg=f"{name} {column}")
        moved = (found[name].moments.counts - expected.counts).abs().sum()
        assert moved <= 4, "tokens beside an edge alone"


def test_decoders_in_turn_get_the_bytes_that_each_gets_alone(monkeypatch):
    decoder, unembedding = small_study()
    others = [replace(decoder, W_dec=rows * decoder.W_dec, sae=str(rows)) for rows in (2.0, -0.3)]
    others.append(replace(decoder, W_dec=decoder.W_dec[:5].contiguous(), sae="few"))
    measured, held = [], []
    measure = moments_vocabulary.measure

    def counted(*given):
        measured.append(given[0])
        return measure(*given)

    def in_turn():
        for one in (decoder, *others):
            held.append(one.sae)
            yield one

    monkeypatch.setattr(moments_vocabulary, "measure", counted)
    for one, found in engine.moments_of_decoders(in_turn(), unembedding, VIEWS):
        # One is read at a time, and each W_U that a view reads is measured once.
        assert held[-1] == one.sae
        assert len(measured) == len({view.get("w_u", "folded") for view in VIEWS.values()})
        monkeypatch.undo()
        alone = engine.decoder_moments(one, unembedding, VIEWS)
        monkeypatch.setattr(moments_vocabulary, "measure", counted)
        for name in VIEWS:
            assert_same_bytes(found[name].moments, alone[name].moments)
    assert held == ["sae", "2.0", "-0.3", "few"]


def test_views_are_refused_as_they_are_one_by_one():
    decoder, unembedding = small_study(trained=False)
    with pytest.raises(FsrlError, match="undertrained tokens are unknown"):
        engine.decoder_moments(decoder, unembedding, VIEWS)
    with pytest.raises(FsrlError, match="w_u is 'fold'"):
        engine.decoder_moments(decoder, unembedding, {"main": {"w_u": "fold"}})
    narrow = weights.Decoder(decoder.W_dec[:, 1:].contiguous(), None, "hook", 0, "sae", {})
    with pytest.raises(FsrlError, match="decoder sae: d_model is 23 but the model's is 24"):
        engine.decoder_moments(narrow, unembedding, {"main": {}})
