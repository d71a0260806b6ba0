"""Agreement of changes with weights: scipy as oracle, a linear model with known answers, edges."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fsrl.effects import agreement as effects
from fsrl.effects.read import MOMENTS
from fsrl.moments import formulas

D_MODEL, N_TOKENS = 8, 90


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


W_U = normal(D_MODEL, N_TOKENS, seed=1) + 0.5
VOCABULARY = effects.Vocabulary.of(W_U - W_U.mean(0))
FOLDED = (W_U - W_U.mean(0)).numpy()


def agreement(change, weights, alpha=None, scale=None):
    """Everything of each change with each row of weights: [changes, weights], and the changes' shapes."""
    n = len(change)
    alpha = torch.ones(n, dtype=change.dtype) if alpha is None else alpha
    scale = torch.ones(n, dtype=change.dtype) if scale is None else scale
    units, wanted = change / alpha[:, None], weights / scale[:, None, None]
    line = effects.line(units[:, None], wanted, VOCABULARY)
    never = [torch.zeros(len(rows), dtype=torch.bool) for rows in (units, weights)]
    changed, predicted = (
        effects.ranks(rows, VOCABULARY, no) for rows, no in zip((units, weights), never, strict=True)
    )
    found = {name: getattr(line, name) for name in ("pearson", "slope", "explained")}
    found["spearman"] = effects.spearman(changed.z[:, None], predicted.z)
    found["overlap"] = effects.overlap(changed.top[:, None], predicted.top).to(change.dtype)
    shapes = effects.shapes(units, VOCABULARY, never[0])
    found |= {name: getattr(shapes, name) for name in MOMENTS}
    return SimpleNamespace(**found)


def test_a_vocabulary_read_in_blocks_is_the_whole(monkeypatch):
    monkeypatch.setattr(effects, "COLUMNS_PER_BLOCK", 7)
    given = W_U.float()
    found, exact = effects.Vocabulary.of(given), given.double()
    assert torch.equal(found.centred, (exact - exact.mean(1, keepdim=True)).float())
    assert torch.equal(found.mean, exact.mean(1).float())
    np.testing.assert_allclose(found.covariance, np.cov(exact.numpy(), bias=True), rtol=1e-12, atol=1e-14)


def test_against_scipy():
    change, weights = normal(40, D_MODEL, seed=2), normal(3, D_MODEL, seed=3)
    alpha, scale = 2 * normal(40, seed=4), normal(40, seed=5).abs() + 0.5
    found = agreement(change, weights, alpha, scale)
    u = change.numpy() @ FOLDED / alpha.numpy()[:, None]
    w = weights.numpy() @ FOLDED
    for i in range(40):
        for j in range(3):
            predicted = w[j] / scale[i].item()
            line = stats.linregress(predicted, u[i])
            assert found.pearson[i, j].item() == pytest.approx(line.rvalue, abs=1e-12)
            assert found.slope[i, j].item() == pytest.approx(line.slope, abs=1e-10)
            assert found.spearman[i, j].item() == pytest.approx(stats.spearmanr(u[i], w[j])[0], abs=1e-12)
            explained = 1 - np.var(u[i] - predicted) / np.var(u[i])
            assert found.explained[i, j].item() == pytest.approx(explained, abs=1e-10)
            top = set(np.argsort(u[i])[-10:]) & set(np.argsort(w[j])[-10:])
            assert found.overlap[i, j].item() == pytest.approx(len(top) / 10)
    expected = formulas.row_moments(torch.from_numpy(u))
    ours = torch.stack([getattr(found, name) for name in MOMENTS], dim=1)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_in_a_linear_model_the_weights_are_the_answer():
    weights = normal(5, D_MODEL, seed=6)
    alpha, scale = torch.tensor([1.0, -1, 3, -3, 0.1]).double(), torch.tensor([1.0, 2, 4, 0.5, 10]).double()
    # A model without blocks and with a fixed final scale: adding alpha d changes the stream by alpha d / s.
    seen = weights - weights.mean(-1, keepdim=True)
    found = agreement(alpha[:, None] * seen / scale[:, None], weights, alpha, scale)
    one = torch.ones(5, dtype=torch.float64)
    for name in ("pearson", "spearman", "slope", "explained", "overlap"):
        torch.testing.assert_close(getattr(found, name).diagonal(), one)
    direct = effects.shapes(weights, VOCABULARY, torch.zeros(5, dtype=torch.bool))
    for name in ("skewness", "kurtosis"):
        torch.testing.assert_close(getattr(found, name), getattr(direct, name))
    torch.testing.assert_close(found.std * scale, direct.std)


def test_a_layer_that_turns_the_change_round_has_slope_minus_one():
    weights = normal(1, D_MODEL, seed=6)
    found = agreement(-(weights - weights.mean()), weights)
    assert found.pearson.item() == pytest.approx(-1)
    assert found.slope.item() == pytest.approx(-1)
    assert found.explained.item() == pytest.approx(-3)  # the prediction is off by twice the change


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_changes_and_unseen_predictions_are_told_from_rounding(dtype):
    rounding = 1e-8 if dtype == torch.float32 else 1e-17
    zero = torch.zeros(D_MODEL)
    change = torch.stack([zero, rounding * normal(D_MODEL), normal(D_MODEL)]).to(dtype)
    assert effects.is_nothing(change).tolist() == [True, True, False]
    # The folded W_U does not see the all-ones direction; what there is none of is NaN.
    predicted = torch.stack([zero, torch.ones(D_MODEL), zero * torch.nan, rounding * normal(D_MODEL)])
    predicted = torch.cat([predicted.to(dtype), change[2:]])
    size = torch.ones(5, dtype=dtype)
    assert effects.is_unseen(predicted, size).tolist() == [True, True, True, True, False]
    # The same small vector is seen where it is all that was added.
    assert not effects.is_unseen(predicted[3], predicted[3].norm())
    vocabulary = effects.Vocabulary.of((W_U - W_U.mean(0)).to(dtype))
    nothing = effects.is_nothing(change)
    shapes, ranks = (find(change, vocabulary, nothing) for find in (effects.shapes, effects.ranks))
    for column in (*(getattr(shapes, name) for name in MOMENTS), ranks.z[:, 0]):
        assert column.isnan().tolist() == [True, True, False]


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=60).filter(lambda row: len(set(row)) > 1))
def test_ties_share_their_mean_rank(row):
    logits = torch.tensor([row, row[::-1]], dtype=torch.float64)
    found = effects._rank_z(logits, effects._order(logits))
    for ours, values in zip(found.numpy(), logits.numpy(), strict=True):
        np.testing.assert_allclose(ours, stats.zscore(stats.rankdata(values)), atol=1e-12)


@settings(deadline=None)
@given(st.floats(0.01, 100), st.floats(0.01, 100), st.integers(0, 50))
def test_units_only_move_what_they_should(alpha, scale, seed):
    change, weights = normal(2, D_MODEL, seed=seed), normal(1, D_MODEL, seed=seed + 1)
    plain = agreement(change, weights)
    two = torch.full((2,), scale, dtype=torch.float64), torch.full((2,), alpha, dtype=torch.float64)
    # The same change for alpha times the activation, under a scale that divides what is predicted.
    scaled = agreement(change * alpha / scale, weights, two[1], two[0])
    for name in ("pearson", "spearman", "slope", "explained", "overlap", "skewness", "kurtosis"):
        torch.testing.assert_close(getattr(scaled, name), getattr(plain, name), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(scaled.std * scale, plain.std)


def test_the_covariance_does_not_depend_on_the_threads():
    W_U, threads, found = normal(64, 3000, seed=9), torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(effects.Vocabulary.of(W_U))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0].covariance, found[1].covariance)


def test_odd_share_of_an_odd_an_even_and_a_mixed_change():
    odd, even = normal(3, D_MODEL, seed=7), normal(3, D_MODEL, seed=8)
    assert effects.odd_share(odd, -odd, VOCABULARY).tolist() == pytest.approx([1] * 3)
    assert effects.odd_share(even, even, VOCABULARY).tolist() == pytest.approx([0] * 3)
    variance = [(part.numpy() @ FOLDED).var(axis=1) for part in (odd, even)]
    expected = variance[0] / (variance[0] + variance[1])
    assert effects.odd_share(odd + even, even - odd, VOCABULARY).tolist() == pytest.approx(expected.tolist())
