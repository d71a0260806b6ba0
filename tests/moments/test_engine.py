"""Moments against hand-worked examples and scipy in float64; the published errors are not ours."""

import io
import math
import sys
from dataclasses import fields

import numpy as np
import pytest
import scipy.stats
import torch

from fsrl.errors import FsrlError
from fsrl.moments import engine, formulas
from tests.fixtures.moment_examples import (
    SHAPE,
    SIDES,
    WORKED,
    random_matrices,
    tiles,
    varied_matrices,
    worked_matrices,
)

ROW_MOMENTS = ("mean", "std", "skewness", "kurtosis", *SIDES)
ALL_PRECISIONS = ["fp64", "fp32", "bf16"]


def assert_matches_scipy(result, logits, rtol):
    expected = {
        "mean": logits.mean(1),
        "std": logits.std(1),
        "skewness": scipy.stats.skew(logits, axis=1),
        "kurtosis": scipy.stats.kurtosis(logits, axis=1, fisher=False),
    } | sides(scipy.stats.zscore(logits, axis=1))
    for name, values in expected.items():
        scale = logits.std(1) if name in ("mean", "std") else 1.0
        error = np.abs(getattr(result, name).numpy() - values) / scale
        assert error.max() < rtol * (1 if name == "std" else np.abs(values / scale).max()), name


def sides(z):
    """What is asked of each side's tail, by a loop over the rows."""
    right, left = ([row[row > 0] if side > 0 else -row[row < 0] for row in z] for side in (1, -1))

    def mean(side, power):
        return np.array([math.fsum(values**power) for values in side]) / z.shape[1]

    return {
        "right_kurtosis": mean(right, 4),
        "left_kurtosis": mean(left, 4),
        "right_eighth": mean(right, 8),
        "left_eighth": mean(left, 8),
    }


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])  # those that are exact for small integers
def test_worked_four_token_example(precision):
    result = engine.logit_moments(*worked_matrices(), precision=precision, n_extremes=2, n_bins=16)
    for name, value in WORKED.items():
        assert getattr(result, name).item() == pytest.approx(value, rel=1e-6), name
    assert result.top_ids.tolist() == [[3, 0]]
    assert result.bottom_ids.tolist() == [[0, 1]]
    assert result.top_weights[0].tolist() == pytest.approx([4.0, 0.0], abs=1e-6)
    assert result.bottom_weights[0].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    # 16 bins of one std: three tokens at -0.58 std, in [-1, 0); one at 1.73 std, in [1, 2).
    expected = [0] * 16
    expected[7], expected[9] = 3, 1
    assert result.counts[0].tolist() == expected
    assert result.underflow.item() == result.overflow.item() == 0
    assert result.d_vocab == 4


def test_row_moments_of_the_worked_example():
    row = formulas.row_moments(torch.tensor([[0.0, 0.0, 0.0, 4.0]], dtype=torch.float64))
    expected = [WORKED[name] for name in ROW_MOMENTS]
    assert row[0].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("precision", "rtol"), [("fp64", 1e-12), ("fp32", 2e-6)])
def test_against_scipy_in_float64(precision, rtol):
    W_dec, W_U = random_matrices()
    result = engine.logit_moments(W_dec, W_U, precision=precision)
    logits = (W_dec.double() @ W_U.double()).numpy()
    assert_matches_scipy(result, logits, rtol)
    assert result.norm.numpy() == pytest.approx(W_dec.double().norm(dim=1).numpy(), rel=1e-12)
    sarle = (scipy.stats.skew(logits, axis=1) ** 2 + 1) / scipy.stats.kurtosis(logits, axis=1, fisher=False)
    assert result.bimodality.numpy() == pytest.approx(sarle, rel=10 * rtol)


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_heavy_tailed_and_bimodal_rows_against_scipy(precision):
    W_dec, W_U = varied_matrices()
    result = engine.logit_moments(W_dec, W_U, precision=precision)
    logits = (W_dec @ W_U).numpy()
    assert_matches_scipy(result, logits, 1e-12 if precision == "fp64" else 2e-6)
    # The examples are what they are called: heavy tails, two levels, and a skewed mixture.
    assert result.kurtosis[0].item() > 50
    assert result.kurtosis[1].item() < 1.3
    assert result.skewness[2].item() > 1


def test_row_moments_against_scipy():
    logits = torch.randn(7, 501, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 3 + 5
    mean, std, skewness, kurtosis, *_ = formulas.row_moments(logits).T.numpy()
    assert mean == pytest.approx(logits.numpy().mean(1), rel=1e-12)
    assert std == pytest.approx(logits.numpy().std(1), rel=1e-12)
    assert skewness == pytest.approx(scipy.stats.skew(logits.numpy(), axis=1), rel=1e-11)
    assert kurtosis == pytest.approx(scipy.stats.kurtosis(logits.numpy(), axis=1, fisher=False), rel=1e-11)


def moments_of_row(row):
    return engine.logit_moments(torch.ones(1, 1, dtype=torch.float64), row.unsqueeze(0), precision="fp64")


def block_average(row, block=1000):
    """The published mistake: shapes averaged over blocks of the vocabulary, the tail dropped."""
    blocks = row[: len(row) // block * block].view(-1, block)
    std, skewness, kurtosis = formulas.row_moments(blocks).mean(0)[1:4].tolist()
    return std, skewness, kurtosis


def test_regression_1_raised_tokens_are_not_averaged_over_blocks():
    generator = torch.Generator().manual_seed(3)
    row = torch.randn(50257, dtype=torch.float64, generator=generator)
    row[torch.randperm(50257, generator=generator)[:20]] += 25
    result = moments_of_row(row)
    assert result.skewness.item() == pytest.approx(4.42, abs=0.15)
    assert result.kurtosis.item() == pytest.approx(101.8, abs=4)
    assert result.skewness.item() == pytest.approx(scipy.stats.skew(row.numpy()), rel=1e-10)
    assert result.kurtosis.item() == pytest.approx(scipy.stats.kurtosis(row.numpy(), fisher=False), rel=1e-10)
    _, skewness, kurtosis = block_average(row)  # the numbers that were published, and are wrong
    assert skewness == pytest.approx(2.68, abs=0.25)
    assert kurtosis == pytest.approx(54.1, abs=4)


def test_regression_1_partition_split_by_token_id_keeps_its_two_levels():
    row = 0.1 * torch.randn(50257, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    row += torch.where(torch.arange(50257) < 25000, -1.0, 1.0)
    result = moments_of_row(row)
    assert result.std.item() == pytest.approx(1.005, abs=0.001)
    assert result.kurtosis.item() == pytest.approx(1.04, abs=0.005)
    std, _, kurtosis = block_average(row)
    assert std == pytest.approx(0.10, abs=0.005)
    assert kurtosis == pytest.approx(3.02, abs=0.05)


def test_regression_1_the_last_tokens_count():
    row = torch.zeros(129, dtype=torch.float64)
    row[-1] = 1.0
    with tiles(128, 64):
        result = moments_of_row(row)
    # One raised token of n: skewness (n - 2) / sqrt(n - 1).
    assert result.skewness.item() == pytest.approx((len(row) - 2) / math.sqrt(len(row) - 1), rel=1e-10)
    assert result.top_ids[0, 0].item() == len(row) - 1


def test_regression_2_standardisation_subtracts_before_it_divides():
    row = torch.tensor([10.0, 10.0, 10.0, 14.0], dtype=torch.float64)
    wrong = ((row - row.mean() / row.std(correction=0)) ** 3).mean().item()
    result = moments_of_row(row)
    assert result.skewness.item() == pytest.approx(WORKED["skewness"], rel=1e-12)
    assert wrong > 100 * WORKED["skewness"]


@pytest.mark.parametrize("precision", ALL_PRECISIONS)
@pytest.mark.parametrize("offset", [0.0, 0.1, 1e4])
def test_constant_and_zero_rows_have_no_shape(precision, offset):
    generator = torch.Generator().manual_seed(0)
    W_U = torch.randn(3, 1500, generator=generator)
    W_U[0] = offset  # the same for every token
    W_dec = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
    result = engine.logit_moments(W_dec, W_U, precision=precision)
    for name in SHAPE:
        assert getattr(result, name).isnan().tolist() == [True, True, False], name
    assert result.std[:2].tolist() == [0.0, 0.0]
    assert result.mean[:2].tolist() == pytest.approx([2 * W_U[0, 0].item(), 0.0], rel=1e-12)
    assert result.top_ids[1].tolist() == list(range(10))
    assert result.counts[:2, 25].tolist() == [1500, 1500]


@pytest.mark.parametrize("precision", ALL_PRECISIONS)
def test_equal_columns_are_constant_for_every_direction(precision):
    # In float64 not even the mean of equal numbers is exact.
    column = torch.tensor([[0.1], [1000 / 7], [1 / 3]], dtype=torch.float64)
    W_dec = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    result = engine.logit_moments(W_dec, column.expand(3, 777), precision=precision)
    assert result.kurtosis.isnan().all()
    assert (result.std == 0).all()


@pytest.mark.parametrize("precision", ALL_PRECISIONS)
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_rows_that_cancel_to_rounding_have_no_shape(precision, size):
    """W_U's rows add up to 3 for every token, but only to rounding."""
    row = size * torch.randn(1500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = engine.logit_moments(torch.ones(1, 2), torch.stack([row, 3 - row]), precision=precision)
    assert result.std.item() == 0.0
    assert result.kurtosis.isnan().item()
    assert result.mean.item() == pytest.approx(3, rel=1e-10)
    assert result.counts[0, 25].item() == 1500


def test_one_token_vocabulary():
    result = engine.logit_moments(torch.tensor([[2.0]]), torch.tensor([[3.0]]))
    assert (result.mean.item(), result.std.item()) == (6.0, 0.0)
    assert result.skewness.isnan().item()
    assert result.top_ids.tolist() == result.bottom_ids.tolist() == [[0]]
    assert result.top_weights.tolist() == [[6.0]]
    assert result.counts.sum().item() == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_weights_are_refused_with_their_position(value):
    W_dec, W_U = random_matrices(n=4, d_vocab=30)
    for name, matrix, position in (("W_dec", W_dec, (2, 5)), ("W_U", W_U, (7, 29))):
        kept = matrix[position].clone()
        matrix[position] = value
        with pytest.raises(FsrlError, match=rf"{name}: {value} at \[{position[0]}, {position[1]}\]"):
            engine.logit_moments(W_dec, W_U)
        matrix[position] = kept


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_upcast(dtype):
    W_dec, W_U = (matrix.to(dtype) for matrix in random_matrices())
    result = engine.logit_moments(W_dec, W_U, precision="fp64")
    assert_matches_scipy(result, (W_dec.double() @ W_U.double()).numpy(), 1e-12)


def test_layout_gradients_and_inputs_do_not_matter():
    W_dec, W_U = (matrix.double() for matrix in random_matrices())
    before = W_dec.clone(), W_U.clone()
    plain = engine.logit_moments(W_dec, W_U, precision="fp64")
    wide = torch.zeros(2 * len(W_dec), W_dec.shape[1], dtype=torch.float64)
    wide[::2] = W_dec
    strided = wide[::2].requires_grad_()
    assert not strided.is_contiguous()
    turned = W_U.T.contiguous().T
    assert not turned.is_contiguous()
    other = engine.logit_moments(strided, turned, precision="fp64", device="cpu")
    assert not other.kurtosis.requires_grad
    torch.testing.assert_close(other.kurtosis, plain.kurtosis, rtol=1e-12, atol=0)
    assert torch.equal(other.top_ids, plain.top_ids)
    assert torch.equal(W_dec, before[0])
    assert torch.equal(W_U, before[1])


@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_the_unit_of_the_weights_does_not_matter_in_float32(unit):
    """Fourth powers of such logits leave float32's range."""
    W_dec, W_U = random_matrices(n=5)
    plain = engine.logit_moments(W_dec, W_U)
    scaled = engine.logit_moments(W_dec * unit, W_U)
    torch.testing.assert_close(scaled.kurtosis, plain.kurtosis, rtol=1e-5, atol=0)
    torch.testing.assert_close(scaled.std, plain.std * unit, rtol=1e-5, atol=0)


def test_parts_left_out_are_empty_and_change_nothing_else():
    W_dec, W_U = random_matrices(n=6)
    full = engine.logit_moments(W_dec, W_U)
    bare = engine.logit_moments(W_dec, W_U, n_extremes=0, n_bins=0)
    assert bare.top_ids.shape == bare.bottom_weights.shape == bare.counts.shape == (6, 0)
    assert bare.underflow.tolist() == bare.overflow.tolist() == [0] * 6
    for name in ("mean", "std", "norm", *SHAPE):
        assert torch.equal(getattr(bare, name), getattr(full, name)), name


@pytest.mark.parametrize(("asked", "terminal"), [(False, True), (True, False), (True, True)])
def test_progress_is_shown_on_a_terminal_when_asked_for(asked, terminal, monkeypatch):
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    engine.logit_moments(*worked_matrices(), progress=asked)
    assert ("moments" in stderr.getvalue()) == (asked and terminal)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "fp8"}, "precision is 'fp8'; choose one of fp64, fp32, split, bf16, auto"),
        ({"precision": "int8"}, "precision is 'int8'; choose one of fp64, fp32, split, bf16, auto"),
        ({"device": "meta"}, "device is meta.*use cpu or cuda"),
        ({"n_bins": -1}, "n_bins is -1"),
        ({"n_extremes": -3}, "n_extremes is -3"),
        ({"W_dec": torch.ones(2, 3)}, "W_dec has d_model 3 but W_U has 2"),
        ({"W_dec": torch.ones(2)}, r"W_dec is torch.float32 \[2\]"),
        ({"W_U": torch.ones(2, 0)}, r"W_U is torch.float32 \[2, 0\]"),
        ({"W_U": torch.ones(2, 4, dtype=torch.int64)}, "W_U is torch.int64"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    W_dec, W_U = worked_matrices()
    with pytest.raises(FsrlError, match=message):
        engine.logit_moments(**({"W_dec": W_dec, "W_U": W_U} | change))


def test_some_features_of_a_result():
    result = engine.logit_moments(*random_matrices(n=6, d_vocab=300))
    chosen = result.of([4, 0, 4])
    assert chosen.d_vocab == 300
    for field in fields(result):
        if field.name != "d_vocab":
            every, some = getattr(result, field.name), getattr(chosen, field.name)
            assert torch.equal(some, torch.stack([every[4], every[0], every[4]])), field.name


def tail_tokens(fourth, eighth, **settings):
    columns = (torch.tensor(column, dtype=torch.float64) for column in (fourth, eighth))
    return formulas.tail_tokens(*columns, **{"d_vocab": 100, "fourth0": 1.5, "eighth0": 52.5} | settings)


def test_tail_tokens_by_hand():
    # 100 * (3.5 - 1.5)^2 / (72.5 - 52.5) = 20; no tail where either difference is not above 0; NaN: no shape.
    found = tail_tokens([3.5, 1.5, 1.4, 3.5, 3.5, math.nan], [72.5, 72.5, 72.5, 52.5, 50.0, math.nan])
    assert found.tolist() == pytest.approx([20.0, *[math.inf] * 4, math.nan], nan_ok=True)


@pytest.mark.parametrize("raised", [1, 3, 12, 100])
def test_tail_tokens_tell_how_many_were_raised(raised):
    row = torch.randn(50000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    row[:raised] += 30
    for side, sign in (("right", 1), ("left", -1)):
        found = moments_of_row(sign * row)
        shape = (getattr(found, f"{side}_{name}") for name in ("kurtosis", "eighth"))
        tokens = formulas.tail_tokens(*shape, found.d_vocab, 1.5, 52.5)
        # The raised ones are not all at one height, so a few less count.
        assert 0.93 * raised < tokens.item() <= 1.01 * raised


def test_right_share_by_hand():
    typical = formulas.Typical(kurtosis=3.2, right_kurtosis=1.6, right_eighth=60.0)
    right, kurtosis = torch.tensor(
        [[2.6, 1.6, 1.1, 1.6, math.nan], [5.2, 5.2, 5.2, 3.2, math.nan]], dtype=torch.float64
    )
    found = formulas.right_share(right, kurtosis, typical).tolist()
    assert found == pytest.approx([0.5, 0.0, -0.25, math.nan, math.nan], nan_ok=True)


@pytest.mark.parametrize("n_bins", [0, 50])
@pytest.mark.parametrize("weight", [2.0**-60, 1.0, 2.0**60])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_eighth_powers_neither_overflow_nor_vanish(precision, weight, n_bins):
    """One token far from all others along a row that all coordinates share: the farthest there can be."""
    d_model, d_vocab = 256, 60_000
    row = 1e-3 * torch.sin(torch.arange(d_vocab))
    row[0] = 1.0
    W_U = row.expand(d_model, -1)
    W_dec = torch.stack([torch.full((d_model,), sign) for sign in (weight, -weight)])
    found = engine.logit_moments(W_dec, W_U, precision=precision, n_bins=n_bins, n_extremes=0)
    exact = formulas.row_moments(d_model * torch.stack([row, -row]).double())
    tolerance = 1e-5 if precision == "fp32" else 0.2
    assert exact[0, 5].item() > 1e14
    for column, name in enumerate(("skewness", "kurtosis", *SIDES), start=2):
        assert getattr(found, name).tolist() == pytest.approx(exact[:, column].tolist(), rel=tolerance), name


def test_both_parts_of_the_kurtosis_are_exact_beside_each_other():
    """The left part of a row of kurtosis above 1e4, to float32's rounding of itself and not of the whole."""
    W_U = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(5))
    W_U[0, 0] = 2000.0
    found = engine.logit_moments(torch.ones(1, 1), W_U, precision="fp32")
    z = scipy.stats.zscore(W_U.double().numpy(), axis=1)
    assert found.kurtosis.item() > 1e4
    assert found.left_kurtosis.item() == pytest.approx(sides(z)["left_kurtosis"].item(), rel=1e-5)
