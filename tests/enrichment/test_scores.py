"""AUC and signed running-sum score: against the walk itself, SAELens, scipy, and by hand."""

import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.enrichment import scores as enrichment_scores
from fsrl.errors import FsrlError
from tests.fixtures.enrichment_examples import random_case


def walk(weights, members):
    """The running sum's farthest value from zero, equal weights taken together; promoted where tied."""
    size, total, sums = members.sum(), 0.0, [0.0]
    for value in np.unique(weights)[::-1]:
        here = members[weights == value]
        total += here.sum() / size - (~here).sum() / (len(weights) - size)
        sums.append(total)
    return max(sums) if max(sums) > -min(sums) - 1e-12 else min(sums)


def case(values, seed=0, n=10, n_tokens=70, n_sets=6):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-values, values + 1, (n, n_tokens), generator=generator).float() / 4
    sizes = torch.linspace(5, n_tokens - 5, n_sets).long()
    return logits, torch.rand(n_sets, n_tokens, generator=generator).argsort(dim=1) < sizes.unsqueeze(1)


@given(seed=st.integers(0, 10**6), values=st.sampled_from([0, 1, 5, 50, 10**6]))
@settings(max_examples=30, deadline=None)
def test_scores_against_the_walk_and_all_pairs(seed, values):
    logits, sets = case(values, seed)
    found = enrichment_scores.scores_of_logits(logits, sets)
    for i, weights in enumerate(logits.numpy()):
        for j, members in enumerate(sets.numpy()):
            assert found.es[i, j].item() == pytest.approx(walk(weights, members), abs=1e-12)
            inside, outside = weights[members][:, None], weights[~members]
            auc = (inside > outside).mean() + (inside == outside).mean() / 2
            assert found.auc[i, j].item() == pytest.approx(auc, abs=1e-12)


def test_auc_is_mann_whitneys():
    logits, sets = case(5)
    found = enrichment_scores.scores_of_logits(logits, sets)
    for weights, row in zip(logits.numpy(), found.auc, strict=True):
        for members, auc in zip(sets.numpy(), row, strict=True):
            u = scipy.stats.mannwhitneyu(weights[members], weights[~members]).statistic
            assert auc.item() == pytest.approx(u / (members.sum() * (~members).sum()), abs=1e-12)


def test_score_is_saelens_with_a_sign():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tsea = pytest.importorskip("sae_lens.tutorial.tsea")
    generator = torch.Generator().manual_seed(0)
    # Distinct weights: SAELens takes equal ones in whatever order its sort leaves them.
    logits = torch.rand(30, 3000, generator=generator).argsort(dim=1).float() - 1500
    logits[0], logits[1] = torch.arange(3000.0), -torch.arange(3000.0)
    sets = (
        torch.rand(8, 3000, generator=generator).argsort(dim=1)
        < torch.tensor([5, 9, 40, 200, 900, 1500, 2500, 2995])[:, None]
    )
    sets[0] = torch.arange(3000) < 5
    frame = tsea.get_enrichment_df(
        logits,
        list(range(30)),
        {str(j): set(row.nonzero().squeeze(1).tolist()) for j, row in enumerate(sets)},
    )
    found = enrichment_scores.scores_of_logits(logits, sets)
    np.testing.assert_allclose(found.es.abs().T, frame.to_numpy(), rtol=0, atol=1e-6)
    assert found.es[0, 0] == -1 and found.es[1, 0] == 1
    assert (found.es[2:] > 0).any() and (found.es[2:] < 0).any()


def test_worked_examples():
    logits = torch.arange(12.0).flip(0)[None]
    sets = torch.zeros(4, 12, dtype=torch.bool)
    sets[0, :6] = True
    sets[1, 6:] = True
    sets[2, [0, 1, 2, 10, 11]] = True
    sets[3, [0, 1, 9, 10, 11]] = True
    found = enrichment_scores.scores_of_logits(logits, sets)
    # The third: 3 of 5 members come first, +.6; the fourth: before the last three, 2 / 5 - 1 = -.6.
    assert found.es[0].tolist() == pytest.approx([1, -1, 0.6, -0.6])
    assert found.auc[0].tolist() == pytest.approx([1, 0, 3 / 5, 2 / 5])


def test_ties_of_zero_and_minus_zero_and_a_constant_row():
    logits, sets = case(5)
    logits[0] = torch.tensor([0.0, -0.0]).repeat(35)
    found = enrichment_scores.scores_of_logits(logits[:1], sets)
    assert found.es.abs().max() == 0
    assert (found.auc == 0.5).all()


@given(seed=st.integers(0, 10**6), values=st.sampled_from([2, 30, 10**6]))
@settings(max_examples=20, deadline=None)
def test_invariances(seed, values):
    logits, sets = case(values, seed)
    found = enrichment_scores.scores_of_logits(logits, sets)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(seed))
    permuted = enrichment_scores.scores_of_logits(logits[:, order], sets[:, order])
    assert torch.equal(permuted.es, found.es) and torch.equal(permuted.auc, found.auc)
    rising = enrichment_scores.scores_of_logits(logits.double().atan().float() * 3 + 1, sets)
    if values < 10**6:  # no new ties by rounding
        assert torch.equal(rising.es, found.es)
    torch.testing.assert_close(enrichment_scores.scores_of_logits(-logits, sets).auc, 1 - found.auc)
    torch.testing.assert_close(enrichment_scores.scores_of_logits(logits, ~sets).auc, 1 - found.auc)
    torch.testing.assert_close(enrichment_scores.scores_of_logits(-logits, sets).es.abs(), found.es.abs())
    torch.testing.assert_close(enrichment_scores.scores_of_logits(logits, ~sets).es.abs(), found.es.abs())


@pytest.mark.parametrize("rows_per_tile", [1, 3, 64])
def test_tiles_threads_and_wide_places_change_nothing(monkeypatch, rows_per_tile):
    logits, sets = case(30)
    expected = enrichment_scores.scores_of_logits(logits, sets)
    monkeypatch.setattr(enrichment_scores, "ROWS_PER_TILE", rows_per_tile)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    found = enrichment_scores.scores_of_logits(logits, sets)
    assert torch.equal(found.es, expected.es) and torch.equal(found.auc, expected.auc)


def test_more_tokens_than_16_bits_count():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(0, 10**5, (2, 70000), generator=generator).float()
    members = torch.rand(1, 70000, generator=generator) < 0.3
    found = enrichment_scores.scores_of_logits(weights, members)
    for row, es, auc in zip(weights.numpy(), found.es, found.auc, strict=True):
        inside, outside = row[members[0].numpy()], row[~members[0].numpy()]
        # The largest gap of two distribution functions is scipy's two-sample Kolmogorov-Smirnov statistic.
        result = scipy.stats.ks_2samp(inside, outside, method="asymp")
        assert es.item() == pytest.approx(-result.statistic_sign * result.statistic, abs=1e-12)
        expected = scipy.stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))
        assert auc.item() == pytest.approx(expected, abs=1e-12)


def test_signed_scores_are_those_of_the_product_in_the_order_asked_for(monkeypatch):
    W_dec, W_U, sets = random_case()
    expected = enrichment_scores.scores_of_logits(W_dec @ W_U, sets)
    monkeypatch.setattr(enrichment_scores, "ROWS_PER_PRODUCT", 4)
    features = torch.tensor([31, 2, 2, 0, 39, 7])
    found = enrichment_scores.signed_scores(W_dec, W_U, sets, features)
    torch.testing.assert_close(found.es, expected.es[features])
    torch.testing.assert_close(found.auc, expected.auc[features])
    none = enrichment_scores.signed_scores(W_dec, W_U, sets, torch.tensor([], dtype=torch.int64))
    assert none.es.shape == (0, 5)


def test_sets_that_are_not_tested_are_null():
    logits, _ = case(30)
    sets = torch.stack([torch.arange(70) < size for size in (0, 4, 5, 65, 66, 70)])
    found = enrichment_scores.scores_of_logits(logits, sets)
    for values in (found.es, found.auc):
        assert values.isnan().all(dim=0).tolist() == [True, True, False, False, True, True]
        assert values[:, 2:4].isfinite().all()


def test_what_is_refused():
    W_dec, W_U, sets = random_case()
    for features in ([40], [-1], [[1]]):
        with pytest.raises(FsrlError, match="each from 0 to 39"):
            enrichment_scores.signed_scores(W_dec, W_U, sets, torch.tensor(features))
    with pytest.raises(FsrlError, match="sets is torch.bool"):
        enrichment_scores.signed_scores(W_dec, W_U, sets[:, 1:], torch.tensor([0]))
