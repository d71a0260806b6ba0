"""Type rules in one layer: what each bound comes to there, and which rows meet it.

A quantile bound is taken from the layer's own features.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from fsrl.errors import FsrlError
from fsrl.stats.quantiles import quantile
from fsrl.types.rules import ORDER, Condition, Scheme

MEETS = {"min": np.greater_equal, "above": np.greater, "max": np.less_equal, "below": np.less}


@dataclass(frozen=True, eq=False)
class Readings:
    """A moments or null table as the rules read it; only rows with a shape can meet a rule."""

    frame: pd.DataFrame
    degenerate: Bool[np.ndarray, "rows"]

    def column(self, name: str) -> Float64[np.ndarray, "rows"]:
        """What a condition on this column compares."""
        return self.frame[name].to_numpy(dtype=np.float64)

    @property
    def shaped(self) -> pd.DataFrame:
        """The rows that are not degenerate."""
        return self.frame[~self.degenerate]


@dataclass(frozen=True)
class Cut:
    """A condition with the number that its bound comes to."""

    condition: Condition
    value: float

    def met(self, readings: Readings) -> Bool[np.ndarray, "rows"]:
        """Which rows have a shape and meet the bound; a missing value meets none."""
        met = MEETS[self.condition.word](readings.column(self.condition.column), self.value)
        return met & ~readings.degenerate


# Type, in order of precedence -> what must all be met.
Rules = dict[str, tuple[Cut, ...]]


@dataclass(frozen=True, eq=False)
class Resolved:
    """A scheme in one layer: its rules with numbers, and what they read of the features."""

    scheme: str
    rules: Rules
    features: Readings


def resolve(scheme: Scheme, moments: pd.DataFrame, *, d_model: int | None = None) -> Resolved:
    """The scheme with numbers for its bounds, those of one layer.

    moments: table `moments` of the layer in the view that the scheme reads; d_model: for rules on
    variance_x_d_model. Raises FsrlError for a bound on an unknown column, and one that needs a d_model not
    given.
    """
    features = read(moments, d_model)
    rules = {
        name: tuple(cut_of(condition, features) for condition in scheme.rules[name])
        for name in ORDER
        if name in scheme.rules
    }
    return Resolved(scheme.name, rules, features)


def read(frame: pd.DataFrame, d_model: int | None) -> Readings:
    """The columns that rules speak of: std becomes std / norm; variance_x_d_model where d_model is known."""
    frame = frame.copy(deep=False)
    # A zero direction has no norm to divide by; it is degenerate, so its std is never compared.
    frame["std"] = frame["std"] / frame["norm"].replace(0.0, np.nan)
    if d_model is not None:
        frame["variance_x_d_model"] = frame["std"] ** 2 * d_model
    return Readings(frame, (frame["skewness"].isna() | frame["kurtosis"].isna()).to_numpy())


def cut_of(condition: Condition, features: Readings) -> Cut:
    """What one bound comes to among these features; FsrlError as for `resolve`."""
    bound, column = condition.bound, condition.column
    if column not in features.frame:
        hint = "give d_model" if column == "variance_x_d_model" else "the moments table has no such column"
        raise FsrlError(f"{condition.place}: {column} is unknown; {hint}")
    if bound.kind == "absolute":
        return Cut(condition, bound.value)
    # Where no row has a value, no row can meet the bound.
    known = features.shaped[column].notna().any()
    return Cut(condition, quantile(features.shaped, column, bound.value) if known else np.nan)


def members(readings: Readings, rules: Rules) -> dict[str, Bool[np.ndarray, "rows"]]:
    """Type -> which rows meet every bound of its rule."""
    return {name: np.logical_and.reduce([cut.met(readings) for cut in rule]) for name, rule in rules.items()}
