"""log10 p that never underflows, false discovery rates in logarithms, best sets."""

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.enrichment import best_sets as enrichment_pvalues
from fsrl.errors import FsrlError
from fsrl.stats import rates


def mpmath_log10_p(t, df):
    with mpmath.workdps(60):
        x = mpmath.mpf(df) / (df + mpmath.mpf(t) ** 2)
        p = mpmath.betainc(mpmath.mpf(df) / 2, mpmath.mpf(1) / 2, 0, x, regularized=True)
        return float(mpmath.log10(p))


@pytest.mark.parametrize("df", [1, 7, 159, 767, 4095])
@pytest.mark.parametrize("t", [0.01, 0.5, 5, 33, 50, 500, 5e6])
def test_log10_p_against_mpmath(t, df):
    expected = mpmath_log10_p(t, df)
    found = rates.log10_p(np.array([t, -t]), df)
    assert found == pytest.approx([expected, expected], rel=1e-10, abs=1e-10)


def test_the_cases_include_what_scipy_cannot_do():
    assert scipy.stats.t.logsf(500, 767) == -np.inf
    assert mpmath_log10_p(500, 767) < -900


def test_log10_p_has_no_step_where_the_series_takes_over():
    t = np.linspace(40, 60, 20001)
    log10_p = rates.log10_p(t, 767)
    assert log10_p.min() < np.log10(rates.SMALLEST_DIRECT_P) < log10_p.max()
    steps = np.diff(log10_p)
    np.testing.assert_allclose(np.diff(steps), 0, atol=1e-5 * abs(steps).max())


def test_log10_p_of_zero_nan_and_any_shape():
    found = rates.log10_p(np.array([[0.0, np.nan]]), 10)
    assert found.shape == (1, 2)
    assert found[0, 0] == 0
    assert np.isnan(found[0, 1])


@given(st.lists(st.floats(1e-30, 1), min_size=1, max_size=50))
@settings(deadline=None)
def test_benjamini_hochberg_against_scipy(p):
    found = rates.benjamini_hochberg(np.log10(p))
    np.testing.assert_allclose(10**found, scipy.stats.false_discovery_control(p), rtol=1e-9)


def test_benjamini_hochberg_keeps_tiny_p_and_leaves_null_out():
    log10_p = np.array([[-1000.0, np.nan, -0.5], [-2000.0, -0.1, np.nan]])
    found = rates.benjamini_hochberg(log10_p)
    # Of 4: p_(1) * 4, p_(2) * 2, p_(3) * 4 / 3, p_(4); no q is above the next one.
    expected = [[-1000 + np.log10(2), np.nan, -0.5 + np.log10(4 / 3)], [-2000 + np.log10(4), np.nan, np.nan]]
    expected[1][1] = -0.1
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.isnan(rates.benjamini_hochberg(np.array([np.nan]))).all()
    assert rates.benjamini_hochberg(np.empty((0, 3))).shape == (0, 3)


@given(
    st.lists(st.floats(-4, 0).map(lambda x: round(x, 1)) | st.just(np.nan), max_size=60), st.floats(0.001, 1)
)
@settings(deadline=None)
def test_significant_are_those_with_a_small_q(log10_p, level):
    log10_p = np.array(log10_p, dtype=np.float64)
    np.testing.assert_array_equal(
        rates.significant(log10_p, level), rates.benjamini_hochberg(log10_p) <= np.log10(level)
    )


def test_benjamini_hochberg_of_equal_p_is_equal():
    found = rates.benjamini_hochberg(np.array([-3.0, -1.0, -3.0, -1.0, -3.0]))
    assert len(set(found[[0, 2, 4]].tolist())) == 1
    assert found[1] == found[3]


def test_best_sets_by_loops():
    generator = torch.Generator().manual_seed(0)
    t = torch.randn(200, 4, generator=generator).round(decimals=1)  # with ties
    t[torch.rand(200, 4, generator=generator) < 0.3] = torch.nan
    log10_p = torch.from_numpy(rates.log10_p(t.numpy(), 20)).float()
    log10_q = torch.from_numpy(rates.benjamini_hochberg(log10_p.numpy()))
    found = enrichment_pvalues.best_sets(t, log10_p, log10_q)
    for i in range(200):
        for sign, index, p, q in (
            (1, found.promoted, found.promoted_log10_p, found.promoted_log10_q),
            (-1, found.suppressed, found.suppressed_log10_p, found.suppressed_log10_q),
        ):
            candidates = [j for j in range(4) if t[i, j] * sign > 0]
            if candidates:
                best = min(candidates, key=lambda j: (log10_p[i, j].item(), j))
                assert index[i] == best
                assert (p[i], q[i]) == (log10_p[i, best], log10_q[i, best])
            else:
                assert index[i] == -1
                assert p[i].isnan() and q[i].isnan()
    assert (found.promoted == -1).any() and (found.suppressed == -1).any()


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (8, 10), (1, 3), (0, 400), (399, 400)])
def test_wilson_against_scipy(successes, trials):
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert rates.wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_by_hand_and_without_trials():
    # 8 of 10: middle (.8 + .384 / 2) / 1.384, half its width sqrt(.384 (.16 + .384 / 4)) / 1.384.
    assert rates.wilson(8, 10) == pytest.approx((0.490, 0.943), abs=5e-4)
    assert np.isnan(rates.wilson(0, 0)).all()


@pytest.mark.parametrize("share", [(0, 1), (1, 1), (8, 10), (0, 400), (399, 400), (1990, 20_000)])
def test_clopper_pearson_against_scipy(share):
    expected = scipy.stats.binomtest(*share).proportion_ci(0.95)
    assert rates.clopper_pearson(*share) == pytest.approx((expected.low, expected.high), abs=1e-11)


def test_clopper_pearson_refuses_what_is_no_share():
    for share in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(FsrlError, match="give some of 1 or more"):
            rates.clopper_pearson(*share)


def test_best_sets_refuses_shapes_that_differ():
    with pytest.raises(FsrlError, match=r"all must be \[features, sets\]"):
        enrichment_pvalues.best_sets(torch.ones(3, 2), torch.ones(3, 2), torch.ones(3, 1))
