"""What must be kept of null draws to judge a feature: a few hundred order statistics of each tail.

A null direction is as likely as its negative, so skewness is pooled with -skewness, and right_kurtosis with
left_kurtosis; kurtosis has two tails of its own, heavy and flat (-kurtosis, so that large is always extreme).
Of N values the number k that are at least x gives

    p = (1 + k) / (1 + N)

which never falls below 1 / (1 + N). Beyond the largest value a generalised Pareto distribution over the top
2 % goes on (Pickands 1975), fitted by probability-weighted moments (Hosking & Wallis 1987), down to .1 a draw
and no further: what lies beyond is not known from so few draws.

k is kept at about 400 ranks, evenly spaced in their logarithm (and in that of the values below), exact for
the most extreme, and read between them in log k: log10 p is off by .02 at most. Whoever judges reads these,
never the draws, so that a notebook without the draws gives the answer that the workflow gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64, Real

from fsrl.errors import FsrlError
from fsrl.tables.moments import NULL_QUANTILES

# Tail -> the columns whose values are pooled, with their signs. Of the last only the median is used.
POOLED = {
    "right": (("skewness", 1), ("skewness", -1)),
    "right_kurtosis": (("right_kurtosis", 1), ("left_kurtosis", 1)),
    "heavy": (("kurtosis", 1),),
    "flat": (("kurtosis", -1),),
    "right_eighth": (("right_eighth", 1), ("left_eighth", 1)),
}
RANKS, RANKS_BELOW = 320, 80
EXTREME = 0.999
PARETO_SHARE = 0.02
# With fewer values beyond its start the shape of a Pareto tail has a standard error of more than .2.
FEWEST_EXCESSES = 50
# Of one direction's share: p is not followed further down.
FLOOR = 0.1


class Place(NamedTuple):
    """Rows among the ranks of a tail: the first value at least as large, the share of the way to it from the
    value before; outside: beyond all values, where log10 p is `tail`.
    """

    at: Int64[np.ndarray, "rows"]
    part: Float64[np.ndarray, "rows"]
    outside: Bool[np.ndarray, "rows"]
    tail: Float64[np.ndarray, "_outside"]


@dataclass(frozen=True, eq=False)
class NullTail:
    """One tail of one kind: `beyond` of its `size` values are at least `values`, which increase.

    median, extreme: 0.5 and 0.999 quantile; threshold, scale, shape: of the Pareto tail, NaN without one.
    """

    size: int
    draws: int
    median: float
    extreme: float
    threshold: float
    scale: float
    shape: float
    values: Float64[np.ndarray, "ranks"]
    beyond: Int64[np.ndarray, "ranks"]

    def log10_p(self, x: Float64[np.ndarray, "rows"]) -> Float64[np.ndarray, "rows"]:
        """log10 of the share of null directions that lie at x or beyond; NaN stays NaN."""
        return self.log10_p_at(self.place(x), self.beyond)

    def place(self, x: Float64[np.ndarray, "rows"]) -> Place:
        """Where values lie among the ranks."""
        at = np.searchsorted(self.values, x, side="left")
        outside = at == len(self.values)  # NaN is sorted there as well
        at = np.minimum(at, len(self.values) - 1)
        last = np.maximum(at - 1, 0)
        width = np.where(at > last, self.values[at] - self.values[last], 1.0)
        part = np.where(x <= self.values[0], 1.0, (x - self.values[last]) / width)
        # As far as counting goes: none of the values is beyond.
        tail = np.full(int(outside.sum()), -np.log10(1 + self.size))
        if not np.isnan(self.shape):
            tail = np.minimum(tail, self._log10_pareto(x[outside]))
        tail = np.maximum(tail, np.log10(FLOOR / self.draws))
        return Place(at, part, outside, np.where(np.isnan(x[outside]), np.nan, tail))

    def log10_p_at(self, place: Place, beyond: Real[np.ndarray, "ranks"]) -> Float64[np.ndarray, "rows"]:
        """`log10_p` of placed values, with the draws' own counts or those of resampled draws."""
        # k steps down right above a value; between two values it is read in its logarithm.
        above = np.maximum(np.append(beyond[0], beyond[:-1] - 1), beyond)
        high, low = np.log10(1 + above), np.log10(1 + beyond)
        found = (1 - place.part) * high[place.at] + place.part * low[place.at] - np.log10(1 + self.size)
        found[place.outside] = place.tail
        return found

    def _log10_pareto(self, x: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        excess = (x - self.threshold) / self.scale
        if abs(self.shape) < 1e-9:
            return np.log10(PARETO_SHARE) - excess / np.log(10)
        with np.errstate(divide="ignore"):  # a tail that ends has no p beyond its end
            inside = np.log1p(np.maximum(self.shape * excess, -1.0))
        return np.log10(PARETO_SHARE) - inside / (self.shape * np.log(10))

    def value_at(self, log10_p: float) -> float:
        """The least value of which log10_p(value) is at most this; NaN where no value is."""
        low, high = float(self.values[0]), float(self.values[-1])
        if log10_p >= 0:
            return low
        if self.log10_p(np.array([high]))[0] > log10_p:
            reach = max(high - self.median, 1e-12)
            low, high = high, high + 1e4 * reach
            if self.log10_p(np.array([high]))[0] > log10_p:
                return np.nan
        for _ in range(200):
            middle = (low + high) / 2
            if not low < middle < high:
                break
            if self.log10_p(np.array([middle]))[0] <= log10_p:
                high = middle
            else:
                low = middle
        return high

    def evidence(self, x: Float64[np.ndarray, "*any"], *, root: bool = False) -> Float64[np.ndarray, "*any"]:
        """(x - median) / (0.999 quantile - median): 1 at that quantile; root: of their square roots."""
        scale = np.sqrt if root else np.asarray
        low, high = scale(self.median), scale(self.extreme)
        return (scale(x) - low) / (high - low)

    def resampled(self, generator: np.random.Generator) -> Float64[np.ndarray, "ranks"]:
        """`beyond` of as many values drawn with replacement from these."""
        counts = generator.multinomial(self.size, self._shares)[:-1]
        return counts[::-1].cumsum()[::-1].astype(np.float64)

    @cached_property
    def _shares(self) -> Float64[np.ndarray, "ranks+1"]:
        """Of the values from each rank to the next, and of those below all ranks."""
        shares = -np.diff(self.beyond, append=0) / self.size
        return np.append(shares, max(1.0 - shares.sum(), 0.0))


# Kind of null -> tail -> what is known of it.
Bounds = Mapping[str, Mapping[str, NullTail]]


def quantile_frame(null: pd.DataFrame) -> pd.DataFrame:
    """The table `null_quantiles` of each kind in a table `null`.

    Draws without a shape are left out. Raises FsrlError for fewer than 2 draws with a shape, and where
    half of the values or more are alike.
    """
    parts = [
        _rows(str(kind), tail, _pooled(part, tail))
        for kind, part in null.groupby("kind", sort=False)
        for tail in POOLED
    ]
    return pd.concat(parts, ignore_index=True).astype({"kind": "str", "tail": "str"})


def bounds(frame: pd.DataFrame) -> dict[str, dict[str, NullTail]]:
    """Kind -> tail -> `NullTail`, from a table `null_quantiles`; FsrlError for a kind without all tails."""
    found: dict[str, dict[str, NullTail]] = {}
    for (kind, tail), part in frame.groupby(["kind", "tail"], sort=False):
        first = part.iloc[0]
        found.setdefault(str(kind), {})[str(tail)] = NullTail(
            size=int(first["size"]),
            draws=int(first["draws"]),
            median=float(first["median"]),
            extreme=float(first["extreme"]),
            threshold=float(first["threshold"]),
            scale=float(first["scale"]),
            shape=float(first["shape"]),
            values=part["value"].to_numpy(dtype=np.float64),
            beyond=part["beyond"].to_numpy(dtype=np.int64),
        )
    for kind, tails in found.items():
        if missing := [tail for tail in POOLED if tail not in tails]:
            raise FsrlError(f"null quantiles: kind {kind} lacks {', '.join(missing)}; build the table again")
    return found


def of_draws(null: pd.DataFrame) -> dict[str, dict[str, NullTail]]:
    """`bounds` of a table `null`."""
    return bounds(quantile_frame(null))


def _pooled(part: pd.DataFrame, tail: str) -> Float64[np.ndarray, "size"]:
    parts = [sign * part[name].to_numpy(dtype=np.float64) for name, sign in POOLED[tail]]
    values = np.concatenate(parts)
    return np.sort(values[~np.isnan(values)])


def _rows(kind: str, tail: str, values: Float64[np.ndarray, "size"]) -> pd.DataFrame:
    size = len(values)
    draws = size // len(POOLED[tail])
    if draws < 2:
        raise FsrlError(f"null quantiles: {draws} {kind} directions with a shape are too few; draw 2 or more")
    median, extreme = np.quantile(values, [0.5, EXTREME])
    if not extreme > median:
        raise FsrlError(f"null quantiles: the {tail} of {kind} directions is one number; nothing varies")
    threshold, scale, shape = pareto_tail(values)
    near, far = (np.geomspace(1, size, number).round().astype(np.int64) for number in (RANKS, RANKS_BELOW))
    # Ranks from the other end too: there values are far apart for the little that p changes.
    ranks = np.unique(np.append(near, size + 1 - far))[::-1]
    at = values[size - ranks]
    at = np.unique(at)  # of equal values all count as beyond
    beyond = size - np.searchsorted(values, at, side="left")
    constants = {"size": size, "draws": draws, "median": median, "extreme": extreme}
    constants |= {"threshold": threshold, "scale": scale, "shape": shape}
    frame = pd.DataFrame({"kind": kind, "tail": tail, **constants, "beyond": beyond, "value": at})
    return frame[list(NULL_QUANTILES.columns)]


def pareto_tail(values: Float64[np.ndarray, "size"]) -> tuple[float, float, float]:
    """Start, scale and shape of a generalised Pareto tail over the top 2 % of sorted values.

    Probability-weighted moments of the excesses y over the start: with b0 = mean(y), b1 = mean((1 - F(y)) y)
    the shape is 2 - b0 / (b0 - 2 b1) and the scale 2 b0 b1 / (b0 - 2 b1), with scipy.stats' signs. All NaN
    with fewer than 50 excesses, or none that varies.
    """
    count = int(len(values) * PARETO_SHARE)
    start = float(np.quantile(values, 1 - PARETO_SHARE))
    excess = values[len(values) - count :] - start
    if count < FEWEST_EXCESSES or not excess[-1] > 0:
        return np.nan, np.nan, np.nan
    excess = np.maximum(excess, 0.0)
    above = 1 - (np.arange(1, count + 1) - 0.35) / count
    b0, b1 = excess.mean(), (above * excess).mean()
    return start, float(2 * b0 * b1 / (b0 - 2 * b1)), float(2 - b0 / (b0 - 2 * b1))
