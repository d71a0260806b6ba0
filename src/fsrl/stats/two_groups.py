"""Two-group tests for features that are not independent: an SAE has near copies of a direction.

The unit is a cluster of similar decoder rows: of the features of a group that lie in one cluster the first
speaks for all. Were it their mean, most or any of them, units would be drawn from another distribution where
clusters are larger, and the groups' clusters differ in size. (The mean of two exponential variables exceeds
a third one with chance .56; of two features either says yes nearly twice as often as one.) Two measures:

    AUC         chance that a unit of the type has a larger value than one of the others, ties counting half;
                p of Mann and Whitney, interval after DeLong et al. (1988)
    odds ratio  of a yes or no; p of Fisher's exact test. Its interval, bootstrapped over clusters, is that of
                `fsrl.stats.odds`.

An AUC of one half is not what chance gives where the groups were made by something that the values follow.
`excess` compares two AUCs, of features and of null directions in the same groups. Under the hypothesis that
both are one theta (their mean, weighted by m n / (m + n)) each has the variance of Hanley & McNeil (1982)

    (theta (1 - theta) + (m - 1) (Q1 - theta^2) + (n - 1) (Q2 - theta^2)) / (m n),
    Q1 = theta / (2 - theta),   Q2 = 2 theta^2 / (1 + theta),

and their difference over the root of the sum is a standard normal z. With theta = 1/2 and a null without
error that is the test of Mann and Whitney, whose variance is (m + n + 1) / (12 m n).

A ratio must be finite where nobody, or everybody, of one group says yes. So 1 / N is added to each group's
shares of yes and of no, N units in all: the correction of Sweeting et al. (2004, Statistics in Medicine 23,
1351), in proportion to a group's size. Haldane's, 1/2 to each count, is the same for groups of one size, but
pulls the ratio of a small group and a large one not to 1 but to the ratio of their sizes: of 20 and 1200
units of which none says yes it makes 58.

Example: of the 6 pairs of (1, 2, 3) with (0, 1), 5 are won and one is a tie: AUC 5.5 / 6.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy  # its stats are loaded where they are first used: half a second that most jobs can do without
from jaxtyping import Bool, Float, Float64, Int, Shaped

# A sample that could not reach this p says nothing.
LEAST_P = 0.05
_Z = 1.959963984540054  # of a two-sided 95 % interval


@dataclass(frozen=True)
class Comparison:
    """units_type, units_other: clusters on either side; value_type, value_other: median of the values, or
    share of yes; effect, low, high: AUC or odds ratio with its 95 % interval; error: standard error of the
    AUC, or of the logarithm of the odds ratio; p: two-sided. NaN: unknown.
    """

    units_type: int
    units_other: int
    value_type: float = np.nan
    value_other: float = np.nan
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    error: float = np.nan
    p: float = np.nan


@dataclass(frozen=True)
class Excess:
    """An AUC beside that of null directions: units_null of them have the type, reference is their AUC.

    excess: the first less the second, with its 95 % interval and standard error; p: of none, two-sided.
    """

    kind: str
    units_null: int
    reference: float
    excess: float
    excess_low: float
    excess_high: float
    error: float
    p: float


def speakers(
    group: Bool[np.ndarray, "features"], clusters: Shaped[np.ndarray, "features"]
) -> Int[np.ndarray, "units"]:
    """Rows of the first feature of each cluster in a group, clusters in order."""
    chosen = np.flatnonzero(group)
    return chosen[np.unique(clusters[chosen], return_index=True)[1]]


def units(
    values: Float[np.ndarray, "features"],
    group: Bool[np.ndarray, "features"],
    clusters: Shaped[np.ndarray, "features"],
) -> Float[np.ndarray, "units"]:
    """Values (NaN where unknown) of the first feature of each cluster of a group with a known one."""
    return values[speakers(group & ~np.isnan(values), clusters)]


def ranks(mine: Float[np.ndarray, "mine"], others: Float[np.ndarray, "others"]) -> Comparison:
    """AUC of two samples of units (DeLong et al. 1988)."""
    m, n = len(mine), len(others)
    if not (m and n):
        return Comparison(m, n)
    everything = scipy.stats.rankdata(np.concatenate([mine, others]))
    # Placements: for each unit, the share of the other side that it exceeds.
    above = (everything[:m] - scipy.stats.rankdata(mine)) / n
    below = 1 - (everything[m:] - scipy.stats.rankdata(others)) / m
    auc = float(above.mean())
    low = high = error = np.nan
    if m > 1 and n > 1:
        error = float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))
        low, high = (float(np.clip(auc + side * _Z * error, 0, 1)) for side in (-1, 1))
    p = float(scipy.stats.mannwhitneyu(mine, others, method="asymptotic").pvalue)
    medians = float(np.median(mine)), float(np.median(others))
    # All values equal: there is nothing to rank, and no evidence either.
    return Comparison(m, n, *medians, auc, low, high, error, 1.0 if np.isnan(p) else p)


def excess(found: Comparison, null: Comparison, kind: str) -> Excess:
    """How much larger the AUC of features is than that of null directions of one kind (see the module).

    Both of `ranks`, with 2 units or more on each side.
    """
    (m, n), (m_null, n_null) = ((one.units_type, one.units_other) for one in (found, null))
    weights = np.array([m * n / (m + n), m_null * n_null / (m_null + n_null)])
    theta = float(np.average([found.effect, null.effect], weights=weights))
    difference = found.effect - null.effect
    alike = np.sqrt(auc_variance(theta, m, n) + auc_variance(theta, m_null, n_null))
    # Both 0, or both 1: there is no difference.
    p = float(2 * scipy.stats.norm.sf(abs(difference) / alike)) if alike > 0 else 1.0
    error = float(np.hypot(_error(found), _error(null)))
    low, high = (difference + side * _Z * error for side in (-1, 1))
    return Excess(kind, m_null, null.effect, difference, low, high, error, p)


def hardest(found: Sequence[Excess]) -> Excess:
    """The comparison that says least; where the excess over one null is positive and over another negative,
    that of the smaller size, with p = 1.
    """
    if len({np.sign(one.excess) for one in found}) > 1:
        return replace(min(found, key=lambda one: abs(one.excess)), p=1.0)
    return max(found, key=lambda one: one.p)


def auc_variance(theta: float, m: int, n: int) -> float:
    """Variance of an AUC of m and n units after Hanley & McNeil (1982)."""
    one, two = theta / (2 - theta), 2 * theta**2 / (1 + theta)
    # Rounding aside a variance is not negative.
    found = theta * (1 - theta) + (m - 1) * (one - theta**2) + (n - 1) * (two - theta**2)
    return max(float(found), 0.0) / (m * n)


def _error(found: Comparison) -> float:
    """Standard error of an AUC; where no pair, or every one, is won, that of half a pair less."""
    if found.error > 0:
        return found.error
    m, n = found.units_type, found.units_other
    return float(np.sqrt(auc_variance((found.effect * m * n + 0.5) / (m * n + 1), m, n)))


def shares(mine: Float[np.ndarray, "mine"], others: Float[np.ndarray, "others"]) -> Comparison:
    """Shares of yes (1; no: 0) among two samples of units, and Fisher's p; the odds ratio is left out.

    p is NaN where there are so few of one answer that no way to deal them out could give p < .05.
    """
    m, n = len(mine), len(others)
    if not (m and n):
        return Comparison(m, n)
    yes, among_others = int((mine > 0).sum()), int((others > 0).sum())
    value = yes / m, among_others / n
    total = yes + among_others
    clearest = min(_fisher(min(total, m), total, m, n), _fisher(max(total - n, 0), total, m, n))
    p = _fisher(yes, total, m, n) if clearest < LEAST_P else np.nan
    return Comparison(m, n, *value, error=_log_odds_error(yes / m, m, among_others / n, n), p=p)


def _log_odds_error(share: float, m: int, other: float, n: int) -> float:
    """Standard error of the logarithm of `odds_ratio`, after Woolf: root of the sum of 1 / count."""
    added = 1 / (m + n)
    sides = ((share, m), (1 - share, m), (other, n), (1 - other, n))
    return float(np.sqrt(sum(1 / ((one + added) * size) for one, size in sides)))


def odds_ratio(
    yes: np.ndarray | int,
    size: np.ndarray | int,
    yes_other: np.ndarray | int,
    size_other: np.ndarray | int,
) -> np.ndarray:
    """Odds of a yes where `yes` of `size` say it over those where `yes_other` of `size_other` do.

    Counts of any shapes that broadcast; NaN where a size is 0. Above 1 where the share of yes is larger than
    the others', 1 where it is the same, whatever the sizes; `yes_other` may not be larger than `size_other`.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share, other = np.divide(yes, size), np.divide(yes_other, size_other)
        added = 1 / np.add(size, size_other, dtype=float)
        return (share + added) * (1 - other + added) / ((1 - share + added) * (other + added))


def _fisher(yes: int, total: int, m: int, n: int) -> float:
    """Two-sided p where `yes` of the `total` that say yes are among the m, the rest among the n."""
    rest = total - yes
    return float(scipy.stats.fisher_exact([[yes, m - yes], [rest, n - rest]]).pvalue)


def holm(p: Float[np.ndarray, "tests"]) -> Float64[np.ndarray, "tests"]:
    """Holm's (1979) adjusted p of all tests at once; NaN (no test) stays NaN and is not counted."""
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
