"""The two-group tests of the claims, against counting pairs by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fsrl.stats import two_groups

SAMPLES = st.lists(st.integers(0, 5).map(float), min_size=2, max_size=12)


def placements(mine, others):
    """[m, n] 1, 1/2 or 0: won, tied or lost."""
    return np.array([[(a > b) + 0.5 * (a == b) for b in others] for a in mine])


@settings(deadline=None)
@given(SAMPLES, SAMPLES)
def test_auc_and_its_interval_by_counting_pairs(mine, others):
    found = two_groups.ranks(np.array(mine), np.array(others))
    pairs = placements(mine, others)
    assert found.effect == pytest.approx(pairs.mean())
    error = np.sqrt(pairs.mean(1).var(ddof=1) / len(mine) + pairs.mean(0).var(ddof=1) / len(others))
    assert found.high == pytest.approx(min(pairs.mean() + 1.959964 * error, 1), abs=1e-6)
    assert found.low == pytest.approx(max(pairs.mean() - 1.959964 * error, 0), abs=1e-6)
    assert 0 < found.p <= 1


def test_worked_example():
    assert two_groups.ranks(np.array([1.0, 2, 3]), np.array([0.0, 1])).effect == 5.5 / 6


def test_the_interval_covers_what_it_should():
    generator = np.random.default_rng(0)
    truth = stats.norm.cdf(1 / np.sqrt(2))
    found = [two_groups.ranks(generator.normal(1, 1, 40), generator.normal(0, 1, 200)) for _ in range(400)]
    inside = np.mean([result.low <= truth <= result.high for result in found])
    assert 0.91 <= inside <= 0.98


def test_a_cluster_counts_once_in_each_group():
    values = np.array([1.0, 3, np.nan, 10, 5, 7])
    clusters = np.array([4, 4, 9, 9, 4, 2])
    group = np.array([True, True, True, True, False, False])
    assert two_groups.speakers(group, clusters).tolist() == [0, 2]
    # Of cluster 9 the first feature is unknown.
    assert two_groups.units(values, group, clusters).tolist() == [1.0, 10.0]
    assert two_groups.units(values, ~group, clusters).tolist() == [7.0, 5.0]
    assert two_groups.units(values, np.zeros(6, dtype=bool), clusters).tolist() == []


def test_copies_of_a_feature_are_no_evidence():
    flags = np.array([1.0] * 30 + [0.0] * 60)
    group = np.arange(90) < 40
    once = np.where(np.arange(90) < 30, 0, np.arange(90))
    alone = two_groups.shares(*(two_groups.units(flags, side, np.arange(90)) for side in (group, ~group)))
    copied = two_groups.shares(*(two_groups.units(flags, side, once) for side in (group, ~group)))
    assert alone.p < 1e-6 and (copied.units_type, copied.value_type) == (11, 1 / 11)
    assert np.isnan(copied.p)  # one yes among 61 could not be significant: 11 / 61


# Sizes of the clusters of a type and of the others.
SIZES = {
    "type in pairs": ([2] * 40, [1] * 300),
    "type in fours": ([4] * 40, [1] * 300),
    "others in fours": ([1] * 60, [4] * 80),
    "all sizes": ([1, 1, 1, 2, 2, 3, 4, 8] * 6, [1] * 300),
}


def called(test, draw, sizes, copies, seed=0, runs=200):
    """Share of p < .05 where a value knows of neither types nor clusters, or is a copy of its cluster's."""
    generator = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(sum(map(len, sizes))), [*sizes[0], *sizes[1]])
    group = np.arange(len(clusters)) < sum(sizes[0])
    p = []
    for _ in range(runs):
        own, shared = draw(generator, len(clusters)), draw(generator, clusters[-1] + 1)[clusters]
        values = np.where(generator.random(len(clusters)) < copies, shared, own)
        p.append(test(*(two_groups.units(values, side, clusters) for side in (group, ~group))).p)
    return np.nanmean(np.array(p) < 0.05)


@pytest.mark.parametrize("copies", [0.0, 0.5])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sizes_of_clusters_are_no_evidence(sizes, copies):
    def yes(generator, size):
        return (generator.random(size) < 0.3).astype(float)

    def skewed(generator, size):
        return generator.exponential(size=size)

    # 10 % of 200 runs: a chance of 1 in 400. With means of clusters, yes from a half up: 16 to 74 % in pairs.
    assert called(two_groups.shares, yes, sizes, copies) <= 0.1
    assert 0.01 <= called(two_groups.ranks, skewed, sizes, copies) <= 0.1


COUNTS = st.tuples(st.integers(0, 40), st.integers(1, 40)).map(lambda pair: (min(pair), pair[1]))


@given(COUNTS, COUNTS)
def test_the_odds_ratio_is_on_the_side_of_the_larger_share_and_finite(mine, others):
    found = two_groups.odds_ratio(*map(np.array, (*mine, *others)))
    a, m, c, n = *mine, *others
    assert np.sign(np.round(np.log(found), 9)) == np.sign(a * n - c * m)
    p, q = m / (m + n), n / (m + n)  # added to a group's counts
    assert found == pytest.approx((a + p) * (n - c + q) / ((m - a + p) * (c + q)))


def test_the_odds_ratio_by_hand():
    assert two_groups.odds_ratio(9, 10, 1, 10) == pytest.approx(9.5**2 / 1.5**2)
    assert two_groups.odds_ratio(0, 20, 0, 1200) == 1.0
    assert np.isnan(two_groups.odds_ratio(np.array([0, 3]), np.array([0, 5]), 0, np.array([7, 0]))).all()


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.data())
def test_a_sample_that_cannot_be_significant_is_not_tested(m, n, data):
    yes = data.draw(st.integers(0, m)), data.draw(st.integers(0, n))
    mine, others = (np.arange(size) < count for size, count in zip((m, n), yes, strict=True))
    found = two_groups.shares(mine.astype(float), others.astype(float))
    total = sum(yes)
    every = [
        stats.fisher_exact([[k, m - k], [total - k, n - total + k]]).pvalue
        for k in range(max(0, total - n), min(total, m) + 1)
    ]
    assert np.isnan(found.p) == (min(every) >= 0.05)
    if not np.isnan(found.p):
        assert found.p == stats.fisher_exact([[yes[0], m - yes[0]], [yes[1], n - yes[1]]]).pvalue


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_of_bonferroni(p):
    """Adjusted p of a hypothesis: the largest Bonferroni p among all sets of hypotheses that hold it."""
    found = two_groups.holm(np.array([*p, np.nan]))
    slow = []
    for number in range(len(p)):
        chosen = [c for c in product([False, True], repeat=len(p)) if c[number]]
        slow.append(max(min(1, sum(c) * min(x for x, use in zip(p, c, strict=True) if use)) for c in chosen))
    np.testing.assert_allclose(found[:-1], slow)
    assert np.isnan(found[-1])


def test_nothing_on_one_side_is_no_comparison():
    for test in (two_groups.ranks, two_groups.shares):
        found = test(np.empty(0), np.ones(3))
        assert (found.units_type, found.units_other) == (0, 3) and np.isnan(found.p)


def test_without_an_effect_the_variance_of_an_auc_is_that_of_mann_and_whitney():
    for m, n in ((3, 7), (40, 1200)):
        assert two_groups.auc_variance(0.5, m, n) == pytest.approx((m + n + 1) / (12 * m * n))


def test_the_variance_of_an_auc_is_that_of_exponential_values():
    generator = np.random.default_rng(0)
    # P(X > Y) = 3 / 4 where X has three times the mean of Y.
    found = [
        two_groups.ranks(generator.exponential(3, 20), generator.exponential(1, 60)).effect
        for _ in range(3000)
    ]
    assert np.mean(found) == pytest.approx(0.75, abs=0.01)
    assert np.var(found) == pytest.approx(two_groups.auc_variance(0.75, 20, 60), rel=0.1)


def test_excess_against_a_large_null_without_effect_is_mann_and_whitneys_test():
    generator = np.random.default_rng(0)
    found = two_groups.ranks(generator.normal(0.5, 1, 30), generator.normal(0, 1, 200))
    exact = two_groups.Comparison(10**7, 10**7, effect=0.5, error=1e-5)
    beside = two_groups.excess(found, exact, "isotropic")
    assert beside.excess == pytest.approx(found.effect - 0.5) and beside.units_null == 10**7
    assert beside.p == pytest.approx(found.p, rel=0.02)
    assert beside.excess_high - beside.excess == pytest.approx(1.959964 * np.hypot(found.error, 1e-5))


def test_an_auc_that_is_there_by_construction_is_no_excess():
    generator = np.random.default_rng(1)
    called = 0
    for _ in range(300):
        # The type is the upper tenth of something that the value follows, in features and in null directions.
        groups = []
        for size in (400, 2000):
            score = generator.normal(0, 1, size)
            value, top = score + generator.normal(0, 2, size), score > np.quantile(score, 0.9)
            groups.append(two_groups.ranks(value[top], value[~top]))
        assert groups[0].effect > 0.55
        called += two_groups.excess(*groups, "isotropic").p <= 0.05
    assert 3 <= called <= 27  # 15 are expected


def test_all_pairs_won_beside_a_null_with_less():
    found = two_groups.ranks(np.arange(10, 20.0), np.arange(10.0))
    null = two_groups.ranks(np.arange(20.0), np.arange(20.0))
    beside = two_groups.excess(found, null, "x")
    assert beside.p < 1e-3 and beside.excess == pytest.approx(0.5) and 0 < beside.error < 0.2
    assert two_groups.excess(found, found, "x").p == 1.0


def test_the_null_that_says_least_speaks():
    one = two_groups.Excess("a", 5, 0.5, 0.2, 0.1, 0.3, 0.05, 0.001)
    other = two_groups.Excess("b", 5, 0.6, 0.1, 0.0, 0.2, 0.05, 0.04)
    against = two_groups.Excess("c", 5, 0.75, -0.05, -0.1, 0.0, 0.02, 0.01)
    assert two_groups.hardest([one, other]) == other
    found = two_groups.hardest([one, against])
    assert (found.kind, found.p, found.excess) == ("c", 1.0, -0.05)


def test_the_error_of_a_log_odds_ratio_is_woolfs():
    yes, no = np.array([1.0] * 30 + [0.0] * 70), np.array([1.0] * 200 + [0.0] * 800)
    found = two_groups.shares(yes, no)
    assert found.error == pytest.approx(np.sqrt(1 / 30 + 1 / 70 + 1 / 200 + 1 / 800), rel=0.01)
