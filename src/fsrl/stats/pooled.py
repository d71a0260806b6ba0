"""One effect over several studies, here layers, that may differ in it: DerSimonian & Laird (1986).

With effects y_i, standard errors s_i and w_i = 1 / s_i^2 the spread of the effects beyond their errors is

    tau^2 = max(0, (Q - (k - 1)) / (sum w - sum w^2 / sum w)),   Q = sum w_i (y_i - mean_w)^2,

and the effect is the mean weighted by 1 / (s_i^2 + tau^2), with the standard error 1 / sqrt(sum of weights).

Example: 0 and 2, both with error 1, give Q = 2, tau^2 = 1, the effect 1 with error 1.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

_Z = 1.959963984540054  # of a two-sided 95 % interval


class Pooled(NamedTuple):
    """An effect with its 95 % interval; NaN without any."""

    effect: float
    low: float
    high: float


def pooled(effects: Float64[np.ndarray, "studies"], errors: Float64[np.ndarray, "studies"]) -> Pooled:
    """The effect over all studies but those with a NaN; errors are positive."""
    known = ~(np.isnan(effects) | np.isnan(errors))
    y, variance = effects[known], errors[known] ** 2
    if not len(y):
        return Pooled(np.nan, np.nan, np.nan)
    fixed = 1 / variance
    spread = (fixed * (y - np.average(y, weights=fixed)) ** 2).sum() - (len(y) - 1)
    # Of one study nothing is known beyond its error.
    scale = fixed.sum() - (fixed**2).sum() / fixed.sum()
    beyond = max(0.0, spread / scale) if len(y) > 1 else 0.0
    weights = 1 / (variance + beyond)
    effect, error = float(np.average(y, weights=weights)), float(weights.sum() ** -0.5)
    return Pooled(effect, effect - _Z * error, effect + _Z * error)
