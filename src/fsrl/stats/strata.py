"""Means over a stratified sample, with bootstrap intervals: features of each type, weighted by their numbers.

A layer's sample has as many features of a rare type as of a common one. With m_k the mean over the sampled
features of type k, and N_k the layer's features of that type, the layer's mean is sum_k N_k m_k / sum_k N_k.
Draws take features of each type anew, with replacement; the interval is the 2.5 and 97.5 % quantile. A type
of one feature adds nothing to the width.
"""

import numpy as np
from jaxtyping import Float64, Int, Shaped


def weighted_mean(
    values: Float64[np.ndarray, "n columns"],
    stratum: Shaped[np.ndarray, "n"],
    sizes: Int[np.ndarray, "n"],
    *,
    draws: int,
    seed: int,
) -> Float64[np.ndarray, "3 columns"]:
    """Mean, lower and upper end of each column; NaN without a row, and ends NaN for a single one.

    stratum: what each row is one of; sizes: how many of that there are. Columns are drawn together, so that a
    difference of two has its own interval.
    """
    if not len(values):
        return np.full((3, values.shape[1]), np.nan)
    rng = np.random.default_rng(seed)
    mean, drawn, total = np.zeros(values.shape[1]), np.zeros((draws, values.shape[1])), 0
    for name in np.unique(stratum):
        rows, size = values[stratum == name], int(sizes[stratum == name][0])
        counts = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=draws)
        mean, drawn = mean + size * rows.mean(0), drawn + size * (counts @ rows) / len(rows)
        total += size
    ends = np.quantile(drawn / total, [0.025, 0.975], axis=0)
    return np.vstack([mean / total, ends if len(values) > 1 else np.full_like(ends, np.nan)])
