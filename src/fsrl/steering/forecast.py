"""How well logit weights, direct and transported, forecast which directions steer.

The forecast of a direction is its output score with the blocks between its hook and the final norm left out
(`fsrl.steering.measure`). It is held against the measured output score over the directions of a layer,
features and random directions apart: by Spearman's rank correlation, and by the AUC for a score above the
group's median, P(a > b) + P(a = b) / 2 over pairs of one above and one not. What is known of features alone
is by how much their correlation is above that of the random directions (`spearman_over_random`). Beside it
stands what is easy to mistake for a forecast: how far features' scores lie above random directions' on the
weights' own tokens (`over_random`, an AUC too). Intervals are percentiles of 1,000 bootstrap draws over
directions; gains are of the same draws, in which a feature goes with the random direction in its place.

Features are the sample's, which has as many of a rare type as of a common one; none is weighted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64
from scipy.stats import rankdata

from fsrl.tables.steering import FEATURE, FORECASTS, RANDOM

DRAWS = 1000
# Directions of fewer than this say nothing of how they vary.
LEAST = 3
WEIGHTS = {
    "direct": ("direct_forecast", "output_score"),
    "transported": ("transported_forecast", "transported_score"),
}
TEXT = dict.fromkeys(("sae", "direction", "weights"), "str")


def summarise(layers: Mapping[str, pd.DataFrame], *, seed: int, draws: int = DRAWS) -> pd.DataFrame:
    """The table `steering_forecasts`; layers: SAE id -> its table `steering`."""
    rows = []
    for sae, frame in layers.items():
        fired = frame.dropna(subset=["output_score"])
        feature, random = (
            _Group.of(fired[fired["direction"] == direction], seed, draws) for direction in (FEATURE, RANDOM)
        )
        for direction, group, against in ((FEATURE, feature, random), (RANDOM, random, None)):
            rows += [{"sae": sae, "direction": direction, **row} for row in _of_group(group, against, seed)]
    table = pd.DataFrame(rows).astype(TEXT | {"directions": "int64"})
    figures = [name for name, column in FORECASTS.columns.items() if column.dtype == "float64"]
    return table.astype(dict.fromkeys(figures, "float64"))[list(FORECASTS.columns)]


@dataclass(frozen=True, eq=False)
class _Group:
    """Directions of one kind. drawn: numbers of the directions in each draw, of which the first is the sample
    itself.
    """

    part: pd.DataFrame
    drawn: Int64[np.ndarray, "draws n"]

    @classmethod
    def of(cls, part: pd.DataFrame, seed: int, draws: int) -> "_Group":
        """With bootstrap draws over the directions."""
        n = len(part)
        return cls(
            part, np.vstack([np.arange(n), np.random.default_rng(seed).integers(0, max(n, 1), (draws, n))])
        )

    def values(self, column: str) -> Float64[np.ndarray, "draws n"]:
        """A column of the directions in each draw."""
        return self.part[column].to_numpy()[self.drawn]

    @cached_property
    def spearmans(self) -> dict[str, Float64[np.ndarray, "draws"]]:
        """Of each kind of weights' forecast with the output score, in each draw."""
        target = self.values("output_score")
        return {
            weights: _spearman(self.values(forecast), target) for weights, (forecast, _) in WEIGHTS.items()
        }


def _of_group(group: _Group, random: _Group | None, seed: int) -> list[dict[str, object]]:
    """A row for each kind of weights; random: the directions that features are held against, None for these
    themselves.
    """
    n, found = len(group.part), []
    target, spearmans = group.values("output_score"), group.spearmans
    for weights, (forecast, own) in WEIGHTS.items():
        predicted, score = group.values(forecast), group.values(own)
        above = None if random is None else spearmans[weights] - random.spearmans[weights]
        figures = {
            "spearman": spearmans[weights],
            "auc": _auc(predicted, target > np.median(target, axis=1, keepdims=True) if n else target > 0),
            "spearman_gain": spearmans[weights] - spearmans["direct"] if weights != "direct" else None,
            "spearman_over_random": above,
            "score": score.mean(1) if n else None,
            "over_random": None if random is None else _over(score, random.part[own].to_numpy(), seed),
        }
        row: dict[str, object] = {"weights": weights, "directions": n}
        for name, values in figures.items():
            row |= _with_interval(name, values if n >= LEAST else None)
        found.append(row)
    return found


def _with_interval(name: str, values: Float64[np.ndarray, "draws"] | None) -> dict[str, float]:
    """The sample's figure and the 95 % interval of its draws."""
    if values is None or np.isnan(values[0]):
        return {name: np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan}
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}


def _spearman(
    one: Float64[np.ndarray, "draws n"], other: Float64[np.ndarray, "draws n"]
) -> Float64[np.ndarray, "draws"]:
    """Of each row; NaN where one side is constant or unknown."""
    if not one.shape[1] or np.isnan(one).any():
        return np.full(len(one), np.nan)
    ranks = [rankdata(side, axis=1) for side in (one, other)]
    a, b = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))


def _auc(
    values: Float64[np.ndarray, "draws n"], positive: Bool[np.ndarray, "draws n"]
) -> Float64[np.ndarray, "draws"]:
    """Of each row: chance that a positive's value is above another's, ties counting half; NaN without
    both."""
    if not values.shape[1] or np.isnan(values).any():
        return np.full(len(values), np.nan)
    ranks = rankdata(values, axis=1)
    n = positive.sum(1)
    others = values.shape[1] - n
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((ranks * positive).sum(1) - n * (n + 1) / 2) / (n * others)


def _over(
    values: Float64[np.ndarray, "draws n"], random: Float64[np.ndarray, "m"], seed: int
) -> Float64[np.ndarray, "draws"]:
    """AUC of each row's values over random directions', which are drawn anew too."""
    chosen: Int64[np.ndarray, "draws m"] = np.random.default_rng((seed, 1)).integers(
        0, max(len(random), 1), (len(values) - 1, len(random))
    )
    drawn = random[np.vstack([np.arange(len(random)), chosen])]
    both = np.hstack([values, drawn])
    positive = np.arange(both.shape[1]) < values.shape[1]
    return _auc(both, np.broadcast_to(positive, both.shape))
