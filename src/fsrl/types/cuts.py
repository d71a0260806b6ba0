"""Type rules with numbers for their bounds: what each bound comes to in one layer, and which rows meet it.

A quantile bound is taken from the layer's own features, a null bound from the null's draws. Of several kinds
of null a bound such as null0.999 must be met against each, so the most extreme decides: the highest quantile
for min and above, the lowest for max and below.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fsrl.errors import FsrlError
from fsrl.names import TYPES
from fsrl.stats.quantiles import quantile
from fsrl.types.rules import LOWER, Condition, Scheme, check_null

# A scheme with numbers for its bounds: type -> (condition, threshold) pairs that must all hold.
Rules = dict[str, list[tuple[Condition, float]]]

MEETS = {"min": np.greater_equal, "above": np.greater, "max": np.less_equal, "below": np.less}


@dataclass(frozen=True)
class Readings:
    """A moments or null table as the rules read it; only rows with a shape can meet a rule."""

    frame: pd.DataFrame
    degenerate: np.ndarray  # bool [rows]

    def column(self, condition: Condition) -> np.ndarray:
        """What the condition compares, float64 [rows]."""
        return self.frame[condition.column].to_numpy(dtype=np.float64)

    @property
    def shaped(self) -> pd.DataFrame:
        """The rows that are not degenerate."""
        return self.frame[~self.degenerate]


def read(frame: pd.DataFrame, d_model: int | None) -> Readings:
    """The columns that rules speak of: std becomes std / norm; variance_x_d_model where d_model is known."""
    frame = frame.copy(deep=False)
    # A zero direction has no norm to divide by; it is degenerate, so its std is never compared.
    frame["std"] = frame["std"] / frame["norm"].replace(0.0, np.nan)
    if d_model is not None:
        frame["variance_x_d_model"] = frame["std"] ** 2 * d_model
    return Readings(frame, (frame["skewness"].isna() | frame["kurtosis"].isna()).to_numpy())


def resolve(scheme: Scheme, features: Readings, null: pd.DataFrame | None, d_model: int | None) -> Rules:
    """Numbers for the bounds of a scheme's rules, types in order of precedence.

    Raises FsrlError for a bound on an unknown column and one that needs a null or d_model not given.
    """
    rules = {}
    for name in TYPES:
        if name in scheme.rules:
            rules[name] = [(c, _threshold(c, features, null, d_model)) for c in scheme.rules[name]]
    return rules


def _threshold(
    condition: Condition, features: Readings, null: pd.DataFrame | None, d_model: int | None
) -> float:
    bound, column = condition.bound, condition.column
    if column not in features.frame:
        hint = "give d_model" if column == "variance_x_d_model" else "the moments table has no such column"
        raise FsrlError(f"{condition.place}: {column} is unknown; {hint}")
    if bound.kind == "absolute":
        return bound.value
    if bound.kind == "q":
        # Where no row has a value, no row can meet the bound.
        known = features.shaped[column].notna().any()
        return quantile(features.shaped, column, bound.value) if known else np.nan
    cuts = null_cuts(condition, null, d_model).values()
    return max(cuts) if condition.word in LOWER else min(cuts)


def null_cuts(condition: Condition, null: pd.DataFrame | None, d_model: int | None) -> dict[str, float]:
    """Kind of null -> its quantile, for the kinds that the bound speaks of; FsrlError where there is none."""
    kinds = [] if null is None else [str(kind) for kind in null["kind"].unique()]
    check_null(condition, kinds)
    assert null is not None
    bound, cuts = condition.bound, {}
    for kind in kinds if bound.null is None else [bound.null]:
        try:
            draws = read(null[null["kind"] == kind], d_model).frame
            cuts[kind] = quantile(draws, condition.column, bound.value)
        except FsrlError as error:
            raise FsrlError(f"{condition.place}: {error}") from error
    return cuts


def members(readings: Readings, rules: Rules) -> dict[str, np.ndarray]:
    """Type -> bool [rows]: meets all bounds. A missing value (implied_tokens) meets none."""
    members = {}
    for name, tests in rules.items():
        met = [MEETS[condition.word](readings.column(condition), cut) for condition, cut in tests]
        members[name] = np.logical_and.reduce(met) & ~readings.degenerate
    return members
