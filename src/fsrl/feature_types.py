"""Feature types after Bloom & Lin 2024: rules on the moments of the logit weights, a table in, a table out.

The types' words are published (local_context, prediction, suppression, partition), their thresholds never
were; so several named schemes of rules are applied side by side (`fsrl.type_rules` reads them). A feature may
meet several rules of a scheme (booleans); its primary label is the first in the order local_context,
prediction, suppression, partition, else `unclassified`. A constant row has no shape and is `degenerate`.

Beside each count stands what chance gives: the same thresholds applied to the null's random directions. A
type at its null rate is noise with a name.

std is read as std / norm, since decoder norms vary; `variance_x_d_model` is its square times d_model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsrl.errors import FsrlError
from fsrl.quantiles import quantile
from fsrl.type_rules import TYPES, WORDS, Bound, Condition, Scheme, parse_bound, parse_schemes

__all__ = ["LABELS", "TYPES", "WORDS", "Bound", "classify", "parse_bound", "parse_schemes", "type_counts"]

UNCLASSIFIED, DEGENERATE = "unclassified", "degenerate"
LABELS = (*TYPES, UNCLASSIFIED, DEGENERATE)

_MEETS = {"min": np.greater_equal, "above": np.greater, "max": np.less_equal, "below": np.less}

# A scheme with numbers for its bounds: type -> (condition, threshold) pairs that must all hold.
_Rules = dict[str, list[tuple[Condition, float]]]


@dataclass(frozen=True)
class _Readings:
    """A moments or null table as the rules read it; only rows with a shape can meet a rule."""

    frame: pd.DataFrame
    degenerate: np.ndarray  # bool [rows]

    def column(self, condition: Condition) -> np.ndarray:
        return self.frame[condition.column].to_numpy(dtype=np.float64)

    @property
    def shaped(self) -> pd.DataFrame:
        return self.frame[~self.degenerate]


def classify(
    moments: pd.DataFrame,
    schemes: Mapping[str, Any],
    null: pd.DataFrame | None = None,
    *,
    d_model: int | None = None,
) -> pd.DataFrame:
    """The table `types`: one row per scheme and feature, schemes in the given order.

    moments: table `moments` of one layer in the view that the schemes read; schemes: name -> scheme as in the
    config; null: table `null` of that view, for bounds such as null0.999 (of several kinds, the most extreme
    counts); d_model: for rules on variance_x_d_model. margin is the distance to the nearest bound of the
    primary type, as a share of the layer's features that lie between; for `unclassified` it is minus what the
    nearest type lacks (the largest distance among its missed bounds); null for `degenerate`.
    Raises FsrlError for a malformed scheme, and a bound that needs a null or d_model which is not given.
    """
    features = _read(moments, d_model)
    frames = []
    for scheme in parse_schemes(schemes):
        rules = _resolve(scheme, features, null, d_model)
        members = _members(features, rules)
        labels = _primary(members, features.degenerate)
        columns = {"feature": moments["feature"].to_numpy(), "scheme": scheme.name}
        absent = np.zeros(len(moments), dtype=bool)
        columns |= {name: members.get(name, absent) for name in sorted(TYPES)}
        columns |= {"type": labels, "margin": _margin(features, rules, labels)}
        frames.append(pd.DataFrame(columns).astype({"scheme": "str", "type": "str"}))
    return pd.concat(frames, ignore_index=True)


def type_counts(
    moments: pd.DataFrame,
    schemes: Mapping[str, Any],
    null: pd.DataFrame,
    *,
    d_model: int | None = None,
) -> pd.DataFrame:
    """The table `type_counts`: features of each type beside the number that the null's draws would give.

    Arguments as for `classify`; within-layer quantiles are taken from the features and then applied to the
    null draws. A type that a scheme does not define has no row. members counts all features that meet a
    type's rule, features only those with it as primary label.
    """
    features = _read(moments, d_model)
    draws = _read(null, d_model)
    rows = []
    for scheme in parse_schemes(schemes):
        rules = _resolve(scheme, features, null, d_model)
        counted, by_chance = _tally(features, rules), _tally(draws, rules)
        for label, (primary, members) in counted.items():
            null_primary, null_members = (count / len(null) for count in by_chance[label])
            rows.append(
                {
                    "scheme": scheme.name,
                    "type": label,
                    "features": primary,
                    "share": primary / len(moments),
                    "null_share": null_primary,
                    "expected": null_primary * len(moments),
                    "members": members,
                    "member_null_share": null_members,
                }
            )
    return pd.DataFrame(rows).astype({"scheme": "str", "type": "str"})


def _read(frame: pd.DataFrame, d_model: int | None) -> _Readings:
    frame = frame.copy(deep=False)
    # A zero direction has no norm to divide by; it is degenerate, so its std is never compared.
    frame["std"] = frame["std"] / frame["norm"].replace(0.0, np.nan)
    if d_model is not None:
        frame["variance_x_d_model"] = frame["std"] ** 2 * d_model
    return _Readings(frame, (frame["skewness"].isna() | frame["kurtosis"].isna()).to_numpy())


def _resolve(scheme: Scheme, features: _Readings, null: pd.DataFrame | None, d_model: int | None) -> _Rules:
    rules = {}
    for name in TYPES:
        if name in scheme.rules:
            rules[name] = [(c, _threshold(c, features, null, d_model)) for c in scheme.rules[name]]
    return rules


def _threshold(
    condition: Condition, features: _Readings, null: pd.DataFrame | None, d_model: int | None
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
    if null is None or null.empty:
        raise FsrlError(f"{condition.place}: null{bound.value:g} needs null draws, and there are none")
    try:
        cuts = [quantile(_read(part, d_model).frame, column, bound.value) for _, part in null.groupby("kind")]
    except FsrlError as error:
        raise FsrlError(f"{condition.place}: {error}") from error
    return max(cuts) if bound.value >= 0.5 else min(cuts)


def _members(readings: _Readings, rules: _Rules) -> dict[str, np.ndarray]:
    """Type -> bool [rows]: meets all bounds. A missing value (implied_tokens) meets none."""
    members = {}
    for name, tests in rules.items():
        met = [_MEETS[condition.word](readings.column(condition), cut) for condition, cut in tests]
        members[name] = np.logical_and.reduce(met) & ~readings.degenerate
    return members


def _primary(members: dict[str, np.ndarray], degenerate: np.ndarray) -> np.ndarray:
    labels = np.full(len(degenerate), UNCLASSIFIED, dtype=object)
    for name in reversed(TYPES):  # the first in precedence is written last
        if name in members:
            labels[members[name]] = name
    labels[degenerate] = DEGENERATE
    return labels


def _tally(readings: _Readings, rules: _Rules) -> dict[str, tuple[int, int]]:
    """Label -> (rows with it as primary label, rows that meet its rule)."""
    members = _members(readings, rules)
    labels = _primary(members, readings.degenerate)
    counts = {}
    for label in (*rules, UNCLASSIFIED, DEGENERATE):
        primary = int((labels == label).sum())
        counts[label] = (primary, int(members[label].sum()) if label in members else primary)
    return counts


def _margin(features: _Readings, rules: _Rules, labels: np.ndarray) -> np.ndarray:
    inside = np.full(len(labels), np.nan)
    lacking = np.full(len(labels), np.inf)
    for name, tests in rules.items():
        distances = [_distance(features, condition, cut) for condition, cut in tests]
        met = [_MEETS[condition.word](features.column(condition), cut) for condition, cut in tests]
        mine = labels == name
        inside[mine] = np.min(distances, axis=0)[mine]
        lacking = np.minimum(lacking, np.max(np.where(met, 0.0, distances), axis=0))
    return np.where(labels == UNCLASSIFIED, 0.0 - lacking, inside)


def _distance(features: _Readings, condition: Condition, cut: float) -> np.ndarray:
    """Share of the layer's features between each value and the cut; 1 where the value is missing."""
    known = np.sort(features.shaped[condition.column].dropna().to_numpy(dtype=np.float64))

    def position(x: Any) -> Any:
        # Mid-rank, so that equal values lie at no distance and each other one counts half on its own.
        below, upto = np.searchsorted(known, x, side="left"), np.searchsorted(known, x, side="right")
        return (below + upto) / (2 * max(len(known), 1))

    values = features.column(condition)
    return np.where(np.isnan(values), 1.0, np.abs(position(values) - position(cut)))
