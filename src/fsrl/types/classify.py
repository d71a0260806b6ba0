"""Feature types after Bloom & Lin 2024: rules on the moments of the logit weights, a table in, a table out.

The types' words are published (local_context, prediction, suppression, partition), their thresholds never
were; so several named schemes of rules are applied side by side (`fsrl.types.rules` reads them). A feature
may meet several rules of a scheme (booleans); its primary label is the first in the order local_context,
prediction, suppression, partition, else `unclassified`. A constant row has no shape and is `degenerate`.

Beside each count stands what chance gives: the same thresholds applied to the nulls' directions. A type at
its null rate is noise with a name. Of several kinds of null a bound such as null0.999 must be met against
each, so the most extreme decides: the highest quantile for min and above, the lowest for max and below.

std is read as std / norm, since decoder norms vary; `variance_x_d_model` is its square times d_model.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fsrl.names import DEGENERATE, LABELS, TYPES, UNCLASSIFIED
from fsrl.types import cuts as type_cuts
from fsrl.types.rules import WORDS, Bound, Condition, Scheme, parse_bound, parse_schemes

__all__ = [
    "LABELS",
    "TYPES",
    "WORDS",
    "Bound",
    "classify",
    "null_counts",
    "parse_bound",
    "parse_schemes",
    "thresholds",
    "type_counts",
]
# Label -> (rows with it as primary label, rows that meet its rule).
_Tally = dict[str, tuple[int, int]]


def classify(
    moments: pd.DataFrame,
    schemes: Mapping[str, Any],
    null: pd.DataFrame | None = None,
    *,
    d_model: int | None = None,
) -> pd.DataFrame:
    """The table `types`: one row per scheme and feature, schemes in the given order.

    moments: table `moments` of one layer in the view that the schemes read; schemes: name -> scheme as in the
    config; null: table `null` of that view, of one kind or several, for bounds such as null0.999; d_model:
    for rules on variance_x_d_model. margin is the distance to the nearest bound of the primary type, as a
    share of the layer's features that lie between; for `unclassified` it is minus what the nearest type lacks
    (the largest distance among its missed bounds); null for `degenerate`.
    Raises FsrlError for a malformed scheme, and a bound that needs a null or d_model which is not given.
    """
    features = type_cuts.read(moments, d_model)
    frames = []
    for scheme in parse_schemes(schemes):
        rules = type_cuts.resolve(scheme, features, null, d_model)
        members = type_cuts.members(features, rules)
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
    type's rule, features only those with it as primary label. Of several kinds of null the largest share is
    given, label by label; `null_counts` has them all.
    """
    rows = []
    for scheme, counted, by_chance in _tallies(moments, schemes, null, d_model):
        for label, (primary, members) in counted.items():
            null_primary, null_members = (
                max(tally[label][i] / draws for tally, draws in by_chance.values()) for i in (0, 1)
            )
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


def null_counts(
    moments: pd.DataFrame,
    schemes: Mapping[str, Any],
    null: pd.DataFrame,
    *,
    d_model: int | None = None,
) -> pd.DataFrame:
    """The table `type_null_counts`: the count of each type and, for each kind of null, what it would give.

    Arguments and columns as for `type_counts`, one row per scheme, type and kind in their order.
    """
    rows = []
    for scheme, counted, by_chance in _tallies(moments, schemes, null, d_model):
        for label, (primary, members) in counted.items():
            for kind, (tally, draws) in by_chance.items():
                share, member_share = (count / draws for count in tally[label])
                rows.append(
                    {
                        "scheme": scheme.name,
                        "type": label,
                        "kind": kind,
                        "draws": draws,
                        "features": primary,
                        "expected": share * len(moments),
                        "null_share": share,
                        "members": members,
                        "member_expected": member_share * len(moments),
                        "member_null_share": member_share,
                    }
                )
    return pd.DataFrame(rows).astype({"scheme": "str", "type": "str", "kind": "str"})


def thresholds(
    moments: pd.DataFrame,
    schemes: Mapping[str, Any],
    null: pd.DataFrame | None = None,
    *,
    d_model: int | None = None,
) -> pd.DataFrame:
    """The table `thresholds`: what each bound of each scheme comes to in this layer and view.

    Arguments as for `classify`; kind names the null that decided a null quantile.
    """
    features = type_cuts.read(moments, d_model)
    rows = []
    for scheme in parse_schemes(schemes):
        for name, tests in type_cuts.resolve(scheme, features, null, d_model).items():
            for condition, cut in tests:
                kind = None
                if condition.bound.kind == "null":
                    cuts = type_cuts.null_cuts(condition, null, d_model)
                    kind = next(kind for kind, value in cuts.items() if value == cut)
                written = (condition.column, condition.word, str(condition.bound))
                rows.append((scheme.name, name, *written, cut, kind))
    columns = ["scheme", "type", "column", "word", "bound", "threshold", "kind"]
    text = {name: "str" for name in columns if name != "threshold"}
    return pd.DataFrame(rows, columns=columns).astype(text)


def _tallies(
    moments: pd.DataFrame, schemes: Mapping[str, Any], null: pd.DataFrame, d_model: int | None
) -> Iterator[tuple[Scheme, _Tally, dict[str, tuple[_Tally, int]]]]:
    """Each scheme with the features' tally and, by kind of null, that kind's tally and number of draws."""
    features = type_cuts.read(moments, d_model)
    draws = {str(kind): type_cuts.read(part, d_model) for kind, part in null.groupby("kind", sort=False)}
    for scheme in parse_schemes(schemes):
        rules = type_cuts.resolve(scheme, features, null, d_model)
        by_chance = {kind: (_tally(part, rules), len(part.frame)) for kind, part in draws.items()}
        yield scheme, _tally(features, rules), by_chance


def _primary(members: dict[str, np.ndarray], degenerate: np.ndarray) -> np.ndarray:
    labels = np.full(len(degenerate), UNCLASSIFIED, dtype=object)
    for name in reversed(TYPES):  # the first in precedence is written last
        if name in members:
            labels[members[name]] = name
    labels[degenerate] = DEGENERATE
    return labels


def _tally(readings: type_cuts.Readings, rules: type_cuts.Rules) -> _Tally:
    members = type_cuts.members(readings, rules)
    labels = _primary(members, readings.degenerate)
    counts = {}
    for label in (*rules, UNCLASSIFIED, DEGENERATE):
        primary = int((labels == label).sum())
        counts[label] = (primary, int(members[label].sum()) if label in members else primary)
    return counts


def _margin(features: type_cuts.Readings, rules: type_cuts.Rules, labels: np.ndarray) -> np.ndarray:
    inside = np.full(len(labels), np.nan)
    lacking = np.full(len(labels), np.inf)
    for name, tests in rules.items():
        distances = [_distance(features, condition, cut) for condition, cut in tests]
        met = [type_cuts.MEETS[condition.word](features.column(condition), cut) for condition, cut in tests]
        mine = labels == name
        inside[mine] = np.min(distances, axis=0)[mine]
        lacking = np.minimum(lacking, np.max(np.where(met, 0.0, distances), axis=0))
    return np.where(labels == UNCLASSIFIED, 0.0 - lacking, inside)


def _distance(features: type_cuts.Readings, condition: Condition, cut: float) -> np.ndarray:
    """Share of the layer's features between each value and the cut; 1 where the value is missing."""
    known = np.sort(features.shaped[condition.column].dropna().to_numpy(dtype=np.float64))

    def position(x: Any) -> Any:
        # Mid-rank, so that equal values lie at no distance and each other one counts half on its own.
        below, upto = np.searchsorted(known, x, side="left"), np.searchsorted(known, x, side="right")
        return (below + upto) / (2 * max(len(known), 1))

    values = features.column(condition)
    return np.where(np.isnan(values), 1.0, np.abs(position(values) - position(cut)))
