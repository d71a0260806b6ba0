"""Null quantiles: p by counting and by the Pareto tail, evidence, resampling; the slow twin counts draws."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fsrl.errors import FsrlError
from fsrl.nulls import quantiles, typical
from fsrl.tables import core as tables
from fsrl.tables.moments import NULL_QUANTILES
from fsrl.types import tails


def draws(n, seed, kind="isotropic"):
    """A table `null` of n directions: skewed and heavy-tailed, each a sample of its own."""
    generator = np.random.default_rng(seed)
    right, left = 1.5 + generator.gamma(2, 0.3, (2, n))
    return pd.DataFrame(
        {
            "kind": kind,
            "skewness": generator.standard_t(6, n) * 0.3,
            "kurtosis": right + left,
            "right_kurtosis": right,
            "left_kurtosis": left,
            "right_eighth": right**4,
            "left_eighth": left**4,
        }
    )


def pooled(null, tail):
    return np.concatenate([sign * null[name].to_numpy() for name, sign in quantiles.POOLED[tail]])


@pytest.mark.parametrize("tail", ["right", "right_kurtosis", "heavy", "flat"])
def test_p_is_that_of_counting_all_draws(tail):
    null = draws(20000, seed=1)
    known, values = quantiles.of_draws(null)["isotropic"][tail], pooled(null, tail)
    x = np.random.default_rng(2).choice(pooled(draws(20000, seed=3), tail), 4000)
    x = x[x <= values.max()]
    counted = np.array([(1 + (values >= one).sum()) / (1 + len(values)) for one in x])
    off = np.abs(known.log10_p(x) - np.log10(counted))
    assert off.max() < 0.02


def test_p_of_few_values_is_exact_by_hand():
    null = draws(3, seed=0).assign(skewness=[0.5, -0.2, 0.1])
    right = quantiles.of_draws(null)["isotropic"]["right"]
    # Pooled: -.5 -.2 -.1 .1 .2 .5. Two of six are at least .2 or .15, one is at least .3, none .6.
    expected = [3 / 7, 3 / 7, 2 / 7, 1 / 7, 1.0, np.nan]
    found = right.log10_p(np.array([0.2, 0.15, 0.3, 0.6, -0.7, np.nan]))
    np.testing.assert_allclose(10.0**found, expected, rtol=1e-12)
    assert right.median == 0 and np.isnan(right.shape)


def test_evidence_is_0_at_the_median_and_1_at_the_0_999_quantile():
    null = draws(5000, seed=4)
    heavy = quantiles.of_draws(null)["isotropic"]["heavy"]
    at = np.quantile(null["kurtosis"], [0.5, 0.999])
    np.testing.assert_allclose(heavy.evidence(at), [0, 1], atol=1e-12)
    flat = quantiles.of_draws(null)["isotropic"]["flat"]
    np.testing.assert_allclose(flat.evidence(-np.quantile(null["kurtosis"], [0.5, 0.001])), [0, 1], atol=1e-9)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.25])
def test_the_pareto_tail_is_found_again(shape):
    bulk = np.linspace(-5, 0, 98_000)
    excess = stats.genpareto.rvs(shape, scale=2.0, size=2000, random_state=np.random.default_rng(5))
    start, scale, found = quantiles.pareto_tail(np.sort(np.append(bulk, excess)))
    assert start == pytest.approx(0, abs=0.01)
    assert scale == pytest.approx(2.0, rel=0.1)
    assert found == pytest.approx(shape, abs=0.07)
    # Where scipy's own distribution has the same parameters it has the same survival function.
    tail = quantiles.NullTail(
        100_000, 50_000, -2.5, 1.0, start, scale, found, np.array([0.0, 3.0]), np.array([9, 1])
    )
    x = np.array([3.5, 5.0, 6.0])
    survival = np.log10(0.02 * stats.genpareto.sf(x - start, found, scale=scale))
    floor, counted = np.log10(0.1 / 50_000), -np.log10(100_001)
    np.testing.assert_allclose(tail.log10_p(x), np.clip(survival, floor, counted), rtol=1e-9)


def test_p_falls_to_a_tenth_of_a_draw_and_no_further():
    known = quantiles.of_draws(draws(20000, seed=6))["isotropic"]["right"]
    assert 10 ** known.log10_p(np.array([1e9]))[0] == pytest.approx(0.1 / 20000)


@given(st.integers(0, 1000), st.integers(2, 3000))
def test_p_never_rises_with_the_value(seed, n):
    known = quantiles.of_draws(draws(n, seed=seed))["isotropic"]
    for tail in ("right", "right_kurtosis", "heavy", "flat"):
        values = known[tail].values
        span = values[-1] - values[0]
        x = np.sort(np.concatenate([values, np.linspace(values[0] - span, values[-1] + 3 * span, 400)]))
        p = known[tail].log10_p(x)
        assert (np.diff(p) <= 1e-12).all() and p[0] == 0


@pytest.mark.parametrize("kind", ["isotropic", "sign_flip"])
def test_p_of_fresh_draws_is_uniform(kind):
    known = quantiles.of_draws(draws(20000, seed=7, kind=kind))
    fresh = draws(20000, seed=8)
    p = {tail: 10.0**one for tail, one in tails.log10_p(fresh, {"isotropic": known[kind]}).items()}
    for tail, one in p.items():
        # Both samples vary: the two-sample distance of 20,000 each (pooled ones come in mirrored pairs).
        assert stats.kstest(one, "uniform").statistic < 1.95 * np.sqrt(2 / 20000), tail
        for level in (1e-2, 1e-3):
            assert abs((one <= level).mean() - level) < 4 * np.sqrt(2 * level / 20000), (tail, level)


def test_the_value_at_a_p_is_the_least_that_has_it():
    known = quantiles.of_draws(draws(20000, seed=9))["isotropic"]["heavy"]
    for p in (-1.0, -3.0, -4.4, -5.0):
        value = known.value_at(p)
        assert known.log10_p(np.array([value]))[0] <= p
        assert known.log10_p(np.array([value - 1e-6]))[0] > p
    assert np.isnan(known.value_at(-9.0))  # beyond what so few draws can tell


def test_resampled_draws_vary_as_resampling_does():
    null = draws(2000, seed=10)
    known = quantiles.of_draws(null)["isotropic"]["heavy"]
    generator = np.random.default_rng(11)
    again = np.array([known.resampled(generator) for _ in range(600)])
    values = np.sort(null["kurtosis"])
    slow = np.array(
        [(generator.choice(values, len(values))[:, None] >= known.values).sum(axis=0) for _ in range(600)]
    )
    assert (again[:, 0] == known.size).all()
    np.testing.assert_allclose(again.mean(axis=0), known.beyond, rtol=0.1, atol=0.3)
    np.testing.assert_allclose(again.std(axis=0), slow.std(axis=0), rtol=0.15, atol=0.2)


def test_the_table_holds_every_tail_and_gives_the_same_bounds_back(tmp_path):
    null = pd.concat([draws(3000, seed=12), draws(1500, seed=13, kind="sign_flip")])
    frame = quantiles.quantile_frame(null)
    tables.write(frame, tmp_path / "q.parquet", NULL_QUANTILES, {})
    known = quantiles.bounds(tables.read(tmp_path / "q.parquet", NULL_QUANTILES))
    x = np.linspace(-2, 9, 200)
    for kind, of_kind in quantiles.of_draws(null).items():
        for tail, one in of_kind.items():
            np.testing.assert_array_equal(known[kind][tail].log10_p(x), one.log10_p(x))
    assert frame.groupby(["kind", "tail"]).size().max() <= quantiles.RANKS + quantiles.RANKS_BELOW
    assert typical.of_quantiles(known) == typical.typical(null)


def test_draws_without_shape_are_left_out():
    null = draws(2000, seed=14)
    gap = pd.concat([null, null.iloc[:5].assign(**dict.fromkeys(null.columns[1:], np.nan))])
    pd.testing.assert_frame_equal(quantiles.quantile_frame(null), quantiles.quantile_frame(gap))


def test_bad_tables_are_refused():
    null = draws(100, seed=15)
    with pytest.raises(FsrlError, match="1 isotropic directions with a shape are too few"):
        quantiles.quantile_frame(null.iloc[:1])
    with pytest.raises(FsrlError, match="nothing varies"):
        quantiles.quantile_frame(null.assign(kurtosis=3.0))
    frame = quantiles.quantile_frame(null)
    with pytest.raises(FsrlError, match="lacks heavy"):
        quantiles.bounds(frame[frame["tail"] != "heavy"])
    with pytest.raises(FsrlError, match="no kind isotropic"):
        typical.of_quantiles(quantiles.of_draws(null.assign(kind="sign_flip")))
