"""The null table of a layer's own kinds, and what chance gives in the calibrated scheme."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from fsrl.errors import FsrlError
from fsrl.moments import formulas
from fsrl.moments.formulas import Typical
from fsrl.names import BOUNDING, TYPES, UNCLASSIFIED
from fsrl.nulls import directions as null_directions
from fsrl.nulls import frames as nulls
from fsrl.nulls import quantiles
from fsrl.nulls.typical import typical as typical_of
from fsrl.tables import core as tables
from fsrl.tables.moments import NULL
from fsrl.types import chance, classify, tails
from fsrl.types.rules import TailScheme
from fsrl.weights import matrices
from fsrl.weights.matrices import Decoder, Unembedding
from tests.fixtures.moment_examples import GAUSSIAN, RATIOS, SIDES
from tests.fixtures.type_examples import CALIBRATED, typings

MINI = Path(__file__).parents[2] / "data" / "mini"
KINDS = ("second_moment", "spectrum", "sign_flip")


def small():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(30, 8, generator=generator), torch.randn(8, 300, generator=generator) + 0.5


def test_table_holds_the_moments_of_each_kinds_directions(tmp_path):
    W_dec, W_U = small()
    frame = nulls.of_layer(W_dec, W_U, kinds=KINDS, draws=60, seed=3, typical=GAUSSIAN)
    assert frame["kind"].tolist() == [kind for kind in KINDS for _ in range(60)]
    assert frame["draw"].tolist() == [*range(60)] * len(KINDS)
    settings = {"draws": 60, "seed": 3}
    directions = [
        null_directions.second_moment(W_dec, **settings),
        null_directions.spectrum(W_dec, W_U, **settings),
        null_directions.sign_flip(W_dec, W_U, **settings),
    ]
    exact = torch.cat([torch.cat(list(blocks)) for blocks in directions]).double()
    oracle = formulas.row_moments(exact @ W_U.double()).numpy()
    found = frame[["mean", "std", "skewness", "kurtosis", *SIDES]].to_numpy()
    assert found == pytest.approx(oracle, rel=1e-4, abs=1e-5)
    assert frame["norm"].to_numpy() == pytest.approx(exact.norm(dim=1).numpy(), rel=1e-6)
    kurtosis, right, right_eighth, left_eighth = oracle[:, 3:].T
    for name, fourth, eighth in (
        ("tail_tokens", right, right_eighth),
        ("left_tail_tokens", kurtosis - right, left_eighth),
    ):
        has_tail = (fourth > 1.5) & (eighth > 52.5)
        tokens = 300 * (fourth - 1.5) ** 2 / (eighth - 52.5)
        assert np.isfinite(frame[name]).tolist() == has_tail.tolist()
        assert 5 < has_tail.sum() < 115
        assert frame[name][has_tail].to_numpy() == pytest.approx(tokens[has_tail], rel=1e-2)
    share = np.where(kurtosis > 3, (right - 1.5) / (kurtosis - 3), np.nan)
    assert frame["right_share"].to_numpy() == pytest.approx(share, rel=1e-2, nan_ok=True)
    tables.write(frame, tmp_path / "null", NULL, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "null", NULL), frame)


def test_flipped_rows_keep_their_std_over_norm():
    W_dec, W_U = small()
    frame = nulls.of_layer(W_dec, W_U, kinds=["sign_flip"], draws=90, seed=0, typical=GAUSSIAN)
    logits = W_dec.double() @ W_U.double()
    assert frame["std"].to_numpy() == pytest.approx(
        np.tile(logits.std(dim=1, correction=0).numpy(), 3), rel=1e-5
    )
    assert frame["kurtosis"].nunique() > 80


def test_the_passes_do_not_show(monkeypatch):
    W_dec, W_U = small()
    monkeypatch.setattr(null_directions, "DRAWS_PER_BLOCK", 16)
    settings = {"kinds": KINDS, "draws": 100, "seed": 0, "typical": GAUSSIAN}
    expected = nulls.of_layer(W_dec, W_U, **settings)
    monkeypatch.setattr(nulls, "BLOCKS_PER_PASS", 2)
    pd.testing.assert_frame_equal(nulls.of_layer(W_dec, W_U, **settings), expected, rtol=1e-6)


VIEWS = {
    "cosine": {"cosine": True},
    "main": {},
    "trained": {"tokens": "trained"},
    "raw": {"w_u": "raw"},
    "cosine over trained": {"tokens": "trained", "cosine": True},
}


def in_memory(W_dec, W_U, trained):
    """A decoder and an unembedding of these weights; raw W_U is another than the folded one."""
    tokens = tuple(map(str, range(W_U.shape[1])))
    unembedding = Unembedding(W_U, W_U * torch.linspace(0.5, 2, len(W_U))[:, None], tokens, None, trained, {})
    return Decoder(W_dec, None, "hook", 0, "sae", {}), unembedding


@pytest.mark.parametrize("lengths", ["any", "one"])
@pytest.mark.parametrize("holes", [0, 5])
@pytest.mark.parametrize("left_out", [0, 40])
def test_views_share_passes_and_get_what_each_gets_alone(monkeypatch, lengths, left_out, holes):
    W_dec, W_U = small()
    if lengths == "one":
        W_dec = 3 * W_dec / W_dec.norm(dim=1, keepdim=True)
    W_dec[3] = 0
    trained = torch.arange(300) >= left_out
    decoder, unembedding = in_memory(W_dec, W_U, trained)
    if holes:
        unembedding = replace(unembedding, owned=torch.arange(300) < 300 - holes)
    settings = {"kinds": KINDS, "draws": 90, "seed": 3}
    typical = {name: Typical(2.5 + 0.1 * number, 1.5, 52.5) for number, name in enumerate(VIEWS)}
    drawn = []
    draw = nulls._draw

    def counted(kind, *given, **how):
        drawn.append(kind)
        return draw(kind, *given, **how)

    monkeypatch.setattr(nulls, "_draw", counted)
    found = nulls.of_layer_in_views(decoder, unembedding, VIEWS, typical=typical, **settings)
    # Rows of one length have one second moment; without a token to leave out `trained` is `main`.
    assert drawn.count("second_moment") == (1 if lengths == "one" else 2)
    for kind in ("spectrum", "sign_flip"):
        assert drawn.count(kind) == (5 if left_out else 3)
    assert list(found) == list(VIEWS)
    for name, view in VIEWS.items():
        seen = matrices.view(decoder, unembedding, **view)
        alone = nulls.of_layer(seen.W_dec, seen.W_U, typical=typical[name], **settings)
        pd.testing.assert_frame_equal(
            found[name].drop(columns=RATIOS),
            alone.drop(columns=RATIOS),
            rtol=1e-5,
            atol=2e-6,
            check_exact=False,
        )
        same = np.isfinite(found[name][RATIOS]) == np.isfinite(alone[RATIOS])
        assert same.to_numpy().mean() > 0.99
    if not holes:
        # Where W_U is read whole, to the last bit.
        alone = nulls.of_layer(decoder.W_dec, unembedding.folded, typical=typical["main"], **settings)
        pd.testing.assert_frame_equal(found["main"], alone, check_exact=True)


def test_a_decoder_of_another_model_is_refused_in_views():
    decoder, unembedding = in_memory(*small(), torch.ones(300, dtype=torch.bool))
    narrow = replace(decoder, W_dec=decoder.W_dec[:, :4].contiguous())
    with pytest.raises(FsrlError, match="trained on another model"):
        nulls.of_layer_in_views(
            narrow, unembedding, {"main": {}}, kinds=KINDS, draws=5, seed=0, typical={"main": GAUSSIAN}
        )


def test_other_kinds_are_refused():
    W_dec, W_U = small()
    settings = {"draws": 5, "seed": 0, "typical": GAUSSIAN}
    for kinds, message in (
        (["gauss"], "kind 'gauss' is unknown; choose from second_moment, spectrum, sign_flip"),
        (["isotropic"], "kind 'isotropic' is shared by the layers, see nulls.isotropic"),
        ([], "no kind given"),
    ):
        with pytest.raises(FsrlError, match=message):
            nulls.of_layer(W_dec, W_U, kinds=kinds, **settings)
        decoder, unembedding = in_memory(W_dec, W_U, None)
        with pytest.raises(FsrlError, match=message):
            nulls.of_layer_in_views(
                decoder, unembedding, {"main": {}}, kinds=kinds, **settings | {"typical": {"main": GAUSSIAN}}
            )


@pytest.fixture(scope="module")
def mini():
    """W_U of the embedded model as stored, over its trained tokens, and one SAE's decoder."""
    embedding = load_file(MINI / "model" / "model.safetensors")["transformer.wte.weight"].float()
    trained = load_file(MINI / "token_counts.safetensors")["count"] >= 100
    sae = load_file(MINI / "saes" / "blocks.4.hook_resid_pre" / "sae_weights.safetensors")
    W_U = embedding[trained].T.contiguous()
    return sae["W_dec"].float(), W_U - W_U.mean(0, keepdim=True)


def mini_null(mini, draws, seed, typical=None):
    isotropic = nulls.isotropic(mini[1], draws=draws, seed=seed)
    typical = typical or typical_of(isotropic)
    own = nulls.of_layer(*mini, kinds=BOUNDING[1:], draws=draws, seed=seed, typical=typical)
    return pd.concat([isotropic, own], ignore_index=True), typical


def test_p_of_fresh_draws_is_uniform_and_hardly_one_of_them_gets_a_type(mini):
    null, typical = mini_null(mini, 20_000, 0)
    fresh, _ = mini_null(mini, 20_000, nulls.fresh_seed(0), typical)
    known = quantiles.of_draws(null)
    for kind, part in fresh.groupby("kind"):
        # Against its own kind alone, whatever its name.
        p = tails.log10_p(part, {"isotropic": known[kind]})
        for tail, one in p.items():
            for level in (0.1, 0.01, 0.001):
                share, error = (10.0**one <= level).mean(), 4 * np.sqrt(2 * level / 20_000)
                assert abs(share - level) < error, (kind, tail, level, share)
    layer = fresh[:1500].assign(feature=np.arange(1500, dtype=np.int32))
    (typing,) = typings(layer, {"calibrated": CALIBRATED}, null)
    for kind, counted in chance.chance(typing, fresh).items():
        typed = sum(counted.as_layers[name][0] for name in TYPES) / counted.draws
        assert typed <= 0.01, kind


@pytest.mark.parametrize("hook", ["blocks.0.hook_resid_pre", "blocks.5.hook_resid_post"])
def test_fresh_draws_hardly_ever_get_a_type(hook):
    """The embedding's rows share an axis of W_U; those of the last layer do not."""
    embedding = load_file(MINI / "model" / "model.safetensors")["transformer.wte.weight"].float()
    trained = load_file(MINI / "token_counts.safetensors")["count"] >= 100
    W_dec = load_file(MINI / "saes" / hook / "sae_weights.safetensors")["W_dec"].float()
    W_U = embedding[trained].T.contiguous()
    isotropic = nulls.isotropic(W_U, draws=20_000, seed=0)
    settings = {"typical": typical_of(isotropic)}
    second = nulls.of_layer(W_dec, W_U, kinds=BOUNDING[1:], draws=10_000, seed=0, **settings)
    known = quantiles.of_draws(pd.concat([isotropic, second]))
    again = {"draws": len(W_dec), "seed": nulls.fresh_seed(0)}
    fresh = nulls.of_layer(W_dec, W_U, kinds=["spectrum", "sign_flip"], **again, **settings)
    fresh = pd.concat([nulls.isotropic(W_U, **again), fresh])
    scheme = TailScheme("calibrated", level=0.05, tail_tokens=20, share=0.25)
    for kind, part in fresh.groupby("kind"):
        typing = classify.typing_of(scheme, part.assign(feature=part["draw"]), known)
        assert (typing.own().primary != UNCLASSIFIED).mean() <= 0.01, kind
    # The check can fail: isotropic directions alone type most flips of rows that share an axis.
    if "0" in hook:
        flips = fresh[fresh["kind"] == "sign_flip"]
        alone = classify.typing_of(scheme, flips, quantiles.of_draws(isotropic))
        assert (alone.own().primary != UNCLASSIFIED).mean() > 0.3
