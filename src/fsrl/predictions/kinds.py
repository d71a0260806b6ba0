"""The kinds of prediction; each is decided by its rule and nothing else:

    value      columns of one row lie within a tolerance of published numbers, ends included
    label      the type of one row under a scheme is among those named
    quantile   of the named rows of a layer, at least so many have a column within these quantiles of it
    count      so many rows of some layers meet a condition
    share      of the rows of some layers (or of those `among` them), this share meets a condition
    trend      the share that meets a condition rises (or falls) over layers in the order given: its Spearman
               correlation with their order is at least `rho` (for a fall at most -rho); ties share their rank

What is undefined (a row without shape, a share of nothing, a trend of equal shares) fails, and the finding
says so.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from fsrl.errors import FsrlError
from fsrl.predictions.conditions import Condition, Layer, Range, have_label

# A correlation of three ranks is at its largest by chance in one case of six.
SHORTEST_TREND = 4


@dataclass(frozen=True)
class Outcome:
    """Whether a prediction holds, and what was found, in words."""

    held: bool
    found: str


class Test(ABC):
    """One kind of prediction: the SAEs it reads, the schemes of types it reads, its rule."""

    __test__ = False  # not pytest's
    saes: tuple[str, ...]

    @property
    def schemes(self) -> tuple[str, ...]:
        """The schemes whose labels it reads."""
        return ()

    @property
    @abstractmethod
    def expected(self) -> str:
        """What must be found, in words."""

    @abstractmethod
    def judge(self, layers: Sequence[Layer]) -> Outcome:
        """What the layers of `saes`, in their order, come to; FsrlError for rows that they do not have."""


@dataclass(frozen=True)
class Value(Test):
    """Columns of one row; values: {column: (number, tolerance)}."""

    saes: tuple[str, ...]
    feature: int
    values: Mapping[str, tuple[float, float]]

    @property
    def expected(self) -> str:
        parts = [f"{name} {value:g} ± {tolerance:g}" for name, (value, tolerance) in self.values.items()]
        return f"feature {self.feature}: {', '.join(parts)}"

    def judge(self, layers: Sequence[Layer]) -> Outcome:
        """Held where every column lies within its tolerance."""
        [layer] = layers
        row = layer.row(self.feature)
        found = {name: layer.values(name)[row] for name in self.values}
        # A bound that decimals write exactly is met by the number that they write.
        near = {
            name: abs(found[name] - value) <= tolerance * (1 + 1e-9)
            for name, (value, tolerance) in self.values.items()
        }
        words = [f"{name} {_shown(value)}{'' if near[name] else ' (off)'}" for name, value in found.items()]
        return Outcome(all(near.values()), ", ".join(words))


@dataclass(frozen=True)
class Label(Test):
    """The type of one row under a scheme."""

    saes: tuple[str, ...]
    feature: int
    scheme: str
    labels: tuple[str, ...]

    @property
    def schemes(self) -> tuple[str, ...]:
        return (self.scheme,)

    @property
    def expected(self) -> str:
        return f"feature {self.feature} is {' or '.join(self.labels)} ({self.scheme})"

    def judge(self, layers: Sequence[Layer]) -> Outcome:
        """Held where its type is among the labels."""
        [layer] = layers
        found = layer.labels(self.scheme)[[layer.row(self.feature)]]
        return Outcome(bool(have_label(found, self.labels)[0]), str(found[0]))


@dataclass(frozen=True)
class Quantile(Test):
    """Where named rows stand in their layer: the share of its other rows that have a smaller value."""

    saes: tuple[str, ...]
    features: tuple[int, ...]
    column: str
    within: Range
    at_least: int

    def __post_init__(self) -> None:
        if self.at_least > len(self.features):
            raise FsrlError(f"at_least {self.at_least} of {len(self.features)} features; name more of them")

    @property
    def expected(self) -> str:
        """How many of the rows must stand where."""
        return (
            f"{self.at_least} of {len(self.features)} features or more at quantiles of {self.column} of "
            f"{self.within}"
        )

    def judge(self, layers: Sequence[Layer]) -> Outcome:
        """Held where enough of the rows are within; a row without a value is not."""
        [layer] = layers
        values = layer.values(self.column)
        known = np.sort(values[~np.isnan(values)])
        own = values[[layer.row(feature) for feature in self.features]]
        below = np.searchsorted(known, own, side="left") / max(len(known) - 1, 1)
        quantiles = np.where(np.isnan(own), np.nan, below)
        inside = sum(map(self.within.holds, quantiles))
        places = zip(self.features, quantiles, strict=True)
        words = ", ".join(f"{feature} at {_shown(place)}" for feature, place in places)
        return Outcome(inside >= self.at_least, f"{inside} of {len(self.features)}: {words}")


@dataclass(frozen=True)
class Count(Test):
    """How many rows of all these layers together meet a condition."""

    saes: tuple[str, ...]
    where: Condition
    within: Range

    @property
    def schemes(self) -> tuple[str, ...]:
        return _schemes(self.where)

    @property
    def expected(self) -> str:
        return f"{self.within} rows with {self.where}"

    def judge(self, layers: Sequence[Layer]) -> Outcome:
        """Held where their number is within the range."""
        count = sum(int(self.where.met(layer).sum()) for layer in layers)
        rows = sum(len(layer.moments) for layer in layers)
        return Outcome(self.within.holds(count), f"{count} of {rows} rows")


@dataclass(frozen=True)
class _OfRows(Test):
    """About the share of these layers' rows, or of those `among` them, that meets a condition."""

    saes: tuple[str, ...]
    where: Condition
    among: Condition | None

    @property
    def schemes(self) -> tuple[str, ...]:
        """Those whose labels the conditions name."""
        return _schemes(self.where, self.among)

    def met(self, layer: Layer) -> tuple[int, int]:
        """How many rows meet the condition, and of how many."""
        base = np.ones(len(layer.moments), dtype=bool) if self.among is None else self.among.met(layer)
        return int((self.where.met(layer) & base).sum()), int(base.sum())


@dataclass(frozen=True)
class Share(_OfRows):
    """Which share of the rows of all these layers together, or of those `among` them, meets a condition."""

    within: Range

    @property
    def expected(self) -> str:
        return f"of the rows{_among(self.among)}, a share of {self.within} with {self.where}"

    def judge(self, layers: Sequence[Layer]) -> Outcome:
        """Held where the share is within the range; a share of no rows is not."""
        met, of = (sum(counts) for counts in zip(*(self.met(layer) for layer in layers), strict=True))
        if not of:
            return Outcome(False, f"no row{_among(self.among)}")
        return Outcome(self.within.holds(met / of), f"{met / of:.4g} ({met} of {of})")


@dataclass(frozen=True)
class Trend(_OfRows):
    """How the share that meets a condition goes over layers; sign: 1 for a rise, -1 for a fall."""

    sign: int
    rho: float

    def __post_init__(self) -> None:
        if len(self.saes) < SHORTEST_TREND:
            raise FsrlError(f"a trend over {len(self.saes)} layers; name at least {SHORTEST_TREND}")

    @property
    def expected(self) -> str:
        """The least correlation, with its sign."""
        sign = "at least " if self.sign > 0 else "at most -"
        return (
            f"of the rows{_among(self.among)}, the share with {self.where}: Spearman {sign}{self.rho:g} "
            "over the layers"
        )

    def judge(self, layers: Sequence[Layer]) -> Outcome:
        """Held where the correlation reaches rho in the direction named."""
        counts = [self.met(layer) for layer in layers]
        if 0 in [of for _, of in counts]:
            return Outcome(False, f"{layers[[of for _, of in counts].index(0)].sae} has no row to look at")
        shares = [met / of for met, of in counts]
        words = ", ".join(f"{share:.3g}" for share in shares)
        if len(set(shares)) == 1:
            return Outcome(False, f"no trend: every share is {shares[0]:.3g}")
        found = spearman(np.array(shares))
        # A correlation that is exactly rho may come out a rounding below it.
        return Outcome(bool(self.sign * found >= self.rho - 1e-12), f"{found:.3f}; shares {words}")


def spearman(values: Float64[np.ndarray, "layers"]) -> float:
    """Spearman correlation of values with their order; ties share the mean of their ranks.

    >>> round(spearman(np.array([1.0, 2.0, 4.0, 3.0])), 12)
    0.8
    """
    ranks = pd.Series(values).rank().to_numpy()
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])


def _schemes(*conditions: Condition | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.scheme for one in conditions if one is not None and one.scheme))


def _among(condition: Condition | None) -> str:
    return "" if condition is None else f" with {condition}"


def _shown(value: float) -> str:
    return "null" if np.isnan(value) else f"{value:.6g}"
