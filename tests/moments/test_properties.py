"""What must hold for any weights: symmetries of the moments, and no trace of the tiling."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.moments import engine, formulas
from tests.fixtures.moment_examples import SHAPE, SIDES, tiles

NAMES = ("mean", "std", *SHAPE, "norm")
PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def matrices(draw):
    """Float64 weights of any small shape, with columns from equal to very unequal length."""
    n, d_model, d_vocab = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(3, 80))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    W_dec = torch.randn(n, d_model, dtype=torch.float64, generator=generator)
    W_U = torch.randn(d_model, d_vocab, dtype=torch.float64, generator=generator)
    lengths = torch.rand(d_vocab, dtype=torch.float64, generator=generator) * draw(st.floats(0, 3))
    return W_dec, W_U * lengths.exp()


def run(W_dec, W_U, tile=(128, 1024), **settings):
    with tiles(*tile):
        return engine.logit_moments(W_dec, W_U, precision="fp64", **settings)


def assert_same(result, expected, names, tolerance=1e-10):
    for name in names:
        torch.testing.assert_close(
            getattr(result, name), getattr(expected, name), rtol=tolerance, atol=tolerance, equal_nan=True
        )


@PROPERTY
@given(matrices(), st.integers(1, 6), st.integers(1, 90))
def test_any_tiling_gives_the_same_table(weights, features, tokens):
    expected, result = run(*weights), run(*weights, tile=(features, tokens))
    assert_same(result, expected, NAMES, tolerance=1e-12)
    for name in ("top_ids", "bottom_ids", "underflow", "counts", "overflow"):
        assert torch.equal(getattr(result, name), getattr(expected, name)), name
    assert_same(result, expected, ("top_weights", "bottom_weights"), tolerance=1e-12)


@PROPERTY
@given(matrices())
def test_equals_the_oracle(weights):
    W_dec, W_U = weights
    result, oracle = run(*weights), formulas.row_moments(W_dec @ W_U)
    for column, name in enumerate(("mean", "std", "skewness", "kurtosis", *SIDES)):
        torch.testing.assert_close(getattr(result, name), oracle[:, column], rtol=1e-9, atol=1e-9)


@PROPERTY
@given(matrices(), st.randoms(use_true_random=False))
def test_permuting_tokens_permutes_the_extremes_and_nothing_else(weights, random):
    W_dec, W_U = weights
    order = torch.tensor(random.sample(range(W_U.shape[1]), W_U.shape[1]))
    result, expected = run(W_dec, W_U[:, order]), run(W_dec, W_U)
    assert_same(result, expected, (*NAMES, "top_weights", "bottom_weights"))
    assert torch.equal(order[result.top_ids], expected.top_ids)
    assert torch.equal(result.counts, expected.counts)


@PROPERTY
@given(matrices(), st.floats(1e-6, 1e6))
def test_scaling_a_row_scales_mean_std_and_norm_only(weights, factor):
    W_dec, W_U = weights
    result, expected = run(W_dec * factor, W_U), run(W_dec, W_U)
    for name in ("mean", "std", "norm"):
        torch.testing.assert_close(
            getattr(result, name) / factor, getattr(expected, name), rtol=1e-10, atol=1e-12
        )
    assert_same(result, expected, SHAPE)


@PROPERTY
@given(matrices())
def test_negating_a_row_negates_mean_and_skewness_and_swaps_the_sides(weights):
    W_dec, W_U = weights
    result, expected = run(-W_dec, W_U), run(W_dec, W_U)
    assert_same(result, expected, ("std", "kurtosis", "bimodality", "norm"))
    for name in ("mean", "skewness"):
        torch.testing.assert_close(-getattr(result, name), getattr(expected, name), rtol=1e-10, atol=1e-10)
    for right, left in (("right_kurtosis", "left_kurtosis"), ("right_eighth", "left_eighth")):
        for one, other in ((right, left), (left, right)):
            torch.testing.assert_close(getattr(result, one), getattr(expected, other), rtol=1e-10, atol=1e-12)
    assert torch.equal(result.top_ids, expected.bottom_ids)
    assert torch.equal(result.underflow, expected.overflow)


@PROPERTY
@given(matrices(), st.integers(0, 2**32), st.floats(0, 100))
def test_adding_one_vector_to_every_column_changes_only_the_mean(weights, seed, size):
    W_dec, W_U = weights
    generator = torch.Generator().manual_seed(seed)
    constant = size * torch.randn(len(W_U), 1, dtype=torch.float64, generator=generator)
    result, expected = run(W_dec, W_U + constant), run(W_dec, W_U)
    assert_same(result, expected, ("std", "norm", *SHAPE), tolerance=1e-8)
    torch.testing.assert_close(result.mean, expected.mean + (W_dec @ constant).squeeze(1))
    assert torch.equal(result.top_ids, expected.top_ids)


@PROPERTY
@given(matrices(), st.integers(1, 60))
def test_every_token_is_in_the_histogram_once(weights, n_bins):
    for precision in ("fp32", "fp64"):
        result = engine.logit_moments(*weights, precision=precision, n_bins=n_bins)
        total = result.underflow + result.counts.sum(1) + result.overflow
        assert total.tolist() == [weights[1].shape[1]] * len(weights[0])


@PROPERTY
@given(matrices())
def test_kurtosis_is_at_least_one_plus_skewness_squared(weights):
    result = run(*weights)
    assert (result.kurtosis >= 1 + result.skewness**2 - 1e-9).all()
