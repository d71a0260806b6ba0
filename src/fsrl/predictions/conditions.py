"""What predictions speak of: rows of a layer, ranges of numbers, conditions on columns and labels.

A condition holds bounds on columns, with the words of the type rules (min, above, max, below), and labels of
a scheme; all must hold. `typed` stands for every label but unclassified and degenerate. Columns are those of
table `moments`, and `std_by_norm`, std / norm. A row without a value meets no bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from fsrl.errors import FsrlError, did_you_mean
from fsrl.names import DEGENERATE, LABELS, UNCLASSIFIED
from fsrl.types.cuts import MEETS
from fsrl.types.rules import SIGNS

TYPED = "typed"


@dataclass(frozen=True, eq=False)
class Layer:
    """What is judged of one SAE in one view: its tables `moments` and, where labels are read, `types`."""

    sae: str
    moments: pd.DataFrame
    types: pd.DataFrame | None = None

    @cached_property
    def _by_feature(self) -> pd.DataFrame:
        frame = self.moments.set_index("feature")
        # A zero direction has no norm to divide by.
        return frame.assign(std_by_norm=frame["std"] / frame["norm"].replace(0.0, np.nan))

    def values(self, column: str) -> Float64[np.ndarray, "features"]:
        """A column, NaN where it has no value."""
        return self._by_feature[column].to_numpy(dtype=np.float64)

    def labels(self, scheme: str) -> np.ndarray:
        """Text array [features]: each row's type; FsrlError where the table lacks the scheme or a row."""
        if self.types is None:
            raise FsrlError(f"{self.sae}: labels are asked for and table types was not given")
        own = self.types[self.types["scheme"] == scheme].set_index("feature")["type"]
        if not len(own):
            known = ", ".join(sorted(set(self.types["scheme"]))) or "none"
            raise FsrlError(f"{self.sae}: table types has no scheme {scheme!r}; there are {known}")
        found = own.reindex(self._by_feature.index)
        if found.isna().any():
            raise FsrlError(f"{self.sae}: table types lacks rows of table moments; build it again")
        return found.to_numpy(dtype=object)

    def row(self, feature: int) -> int:
        """Where a feature stands in the arrays; FsrlError for one that the SAE does not have."""
        if feature not in self._by_feature.index:
            raise FsrlError(f"{self.sae} has no feature {feature} (it has {len(self.moments)})")
        return int(self._by_feature.index.get_loc(feature))


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; None: no bound on that side, and one there must be."""

    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise FsrlError("neither min nor max: give one of them")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise FsrlError(f"min {self.low:g} is above max {self.high:g}; exchange them")

    def holds(self, value: float) -> bool:
        """Whether it lies within; NaN lies in no range."""
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        return bool(low <= value <= high)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"at most {self.high:g}" if self.low is None else f"at least {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


def label_set(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels as a prediction names them, checked; `typed` is kept as it is."""
    for label in labels:
        if label not in (*LABELS, TYPED):
            known = (*LABELS, TYPED)
            raise FsrlError(
                f"unknown label {label!r}{did_you_mean(label, known)} (known: {', '.join(known)})"
            )
    return tuple(labels)


def have_label(found: np.ndarray, labels: Sequence[str]) -> Bool[np.ndarray, "features"]:
    """Which of the types found are among the labels."""
    member = np.isin(found, [label for label in labels if label != TYPED])
    return member | ~np.isin(found, [UNCLASSIFIED, DEGENERATE]) if TYPED in labels else member


@dataclass(frozen=True)
class Condition:
    """Bounds (column, word, number) and labels of a scheme, which a row must meet all."""

    bounds: tuple[tuple[str, str, float], ...]
    scheme: str | None
    labels: tuple[str, ...]

    @classmethod
    def parse(cls, written: Mapping[str, Any]) -> "Condition":
        """Of {column: {word: number}, label: {scheme: name, any: [labels]}}, as the schema has checked it."""
        bounds = tuple(
            (column, word, float(number))
            for column, given in written.items()
            if column != "label"
            for word, number in given.items()
        )
        label = written.get("label")
        return cls(bounds, label["scheme"], label_set(label["any"])) if label else cls(bounds, None, ())

    def met(self, layer: Layer) -> Bool[np.ndarray, "features"]:
        """Which rows of the layer meet it."""
        met = np.ones(len(layer.moments), dtype=bool)
        for column, word, number in self.bounds:
            met &= MEETS[word](layer.values(column), number)
        return met & have_label(layer.labels(self.scheme), self.labels) if self.scheme else met

    def __str__(self) -> str:
        parts = [f"{column} {SIGNS[word]} {number:g}" for column, word, number in self.bounds]
        if self.scheme:
            parts.append(f"{self.scheme}: {' or '.join(self.labels)}")
        return " and ".join(parts)
