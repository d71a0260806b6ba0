"""p-values that never underflow, the false discovery rate over them, and how sure a share is.

With Student's t on df degrees of freedom and x = df / (df + t^2), the two-sided p is the regularised
incomplete beta function I_x(df / 2, 1 / 2). scipy's value is used where it is well above zero; beyond that,

    p = x^a (1 - x)^(-1/2) / (a B(a, 1/2)) * sum_n (1/2)_n / (a + 1)_n (-df / t^2)^n,    a = df / 2,

(DLMF 8.17.8 after Pfaff's transformation, 15.8.1) is summed in logarithms. (c)_n is the rising factorial.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Real
from scipy import special

from fsrl.errors import FsrlError

# Below this p the series takes over. |t| is above 30 there whatever df, so a term is at most (2n + 1) / 900
# times the one before it and 6 of them are exact to rounding.
SMALLEST_DIRECT_P = 1e-250
SERIES_TERMS = 6
_Z = 1.959963984540054  # of a two-sided 95 % interval


def log10_p(t: Real[np.ndarray, "*any"], df: float) -> Float64[np.ndarray, "*any"]:
    """log10 of the two-sided p of Student's t on df > 0 degrees of freedom; NaN stays NaN."""
    t = np.asarray(t, dtype=np.float64)
    p = special.betainc(df / 2, 0.5, df / (df + t * t))
    tiny = p < SMALLEST_DIRECT_P  # False for NaN
    result = np.log10(np.where(tiny, 1.0, p))
    if tiny.any():
        result[tiny] = _log10_p_tail(t[tiny], df)
    return result


def _log10_p_tail(t: Float64[np.ndarray, "n"], df: float) -> Float64[np.ndarray, "n"]:
    a = df / 2
    ratio = df / (t * t)
    term = np.ones_like(ratio)
    series = np.ones_like(ratio)
    for n in range(SERIES_TERMS):
        term = term * -ratio * (n + 0.5) / (a + 1 + n)
        series += term
    # log x = -log1p(t^2 / df) and -log(1 - x) = log1p(df / t^2): neither loses digits.
    log_p = -a * np.log1p(1 / ratio) + 0.5 * np.log1p(ratio) - np.log(a) - special.betaln(a, 0.5)
    return (log_p + np.log(series)) / np.log(10)


def benjamini_hochberg(log10_p: Float[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
    """log10 of Benjamini and Hochberg's (1995) q over all entries of `log10_p`.

    Pass all features and sets of a study at once: the rate holds for what is passed. NaN (not tested) stays
    NaN and is not counted. `scipy.stats.false_discovery_control` does the same to p that do not underflow.
    """
    tested = ~np.isnan(log10_p)
    values = log10_p[tested].astype(np.float64)
    order = np.argsort(values)
    n = len(order)
    raw = values[order] + np.log10(max(n, 1)) - np.log10(np.arange(1, n + 1))
    found = np.empty(n)
    # q of the i-th smallest p is the least of p_j * n / j over j >= i; that of the last is p itself.
    found[order] = np.minimum.accumulate(raw[::-1])[::-1]
    result = np.full(log10_p.shape, np.nan)
    result[tested] = found
    return result


def significant(log10_p: Float[np.ndarray, "*any"], level: float) -> Bool[np.ndarray, "*any"]:
    """Which entries `benjamini_hochberg` gives a q of at most `level`; NaN has none."""
    n = int(np.count_nonzero(~np.isnan(log10_p)))
    # q is p or more, to rounding, so that few entries need a rank.
    near = log10_p[log10_p <= np.log10(level) + 1e-9]
    values = np.sort(near.astype(np.float64))
    raw = values + np.log10(max(n, 1)) - np.log10(np.arange(1, len(values) + 1))
    met = (raw <= np.log10(level)).nonzero()[0]
    return log10_p <= values[met[-1]] if len(met) else np.zeros(log10_p.shape, dtype=bool)


def discoveries(log10_p: Float[np.ndarray, "*any"], level: float) -> int:
    """How many entries `benjamini_hochberg` gives a q of at most `level`; NaN is not counted."""
    n = int(np.count_nonzero(~np.isnan(log10_p)))
    candidates = np.sort(log10_p[log10_p <= np.log10(level)].astype(np.float64))  # False for NaN
    met = candidates <= np.log10(level) - np.log10(max(n, 1)) + np.log10(np.arange(1, len(candidates) + 1))
    return int(met.nonzero()[0][-1]) + 1 if met.any() else 0


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's (1927) 95 % interval of a share, whose ends no share of 0 or 1 drives out of it; NaN without
    trials.

    Of 8 in 10 it is .490 to .943.
    """
    if not trials:
        return np.nan, np.nan
    share, z2 = successes / trials, _Z**2 / trials
    middle = share + z2 / 2
    half = np.sqrt(z2 * (share * (1 - share) + z2 / 4))
    low, high = (middle - half) / (1 + z2), (middle + half) / (1 + z2)
    # Rounding alone keeps the ends from 0 and 1.
    return (0.0 if successes == 0 else float(low)), (1.0 if successes == trials else float(high))


def clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    """Clopper and Pearson's (1934) 95 % interval of a share: exact, by quantiles of beta distributions.

    `scipy.stats.binomtest(successes, trials).proportion_ci(0.95)` finds the same by bisection, a hundred
    times slower. Of 8 in 10 it is .444 to .975. Raises FsrlError without trials.
    """
    if not 0 <= successes <= trials or not trials:
        raise FsrlError(f"interval of a share: {successes} of {trials}; give some of 1 or more")
    low = special.betaincinv(successes, trials - successes + 1, 0.025) if successes else 0.0
    high = special.betaincinv(successes + 1, trials - successes, 0.975) if successes < trials else 1.0
    return float(low), float(high)
