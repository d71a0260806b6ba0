"""Feature types after Bloom & Lin 2024: a scheme resolved in one layer in (`fsrl.types.cuts`), tables out.

The types' words are published (local_context, prediction, suppression, partition), their thresholds never
were; so several named schemes of rules are applied side by side (`fsrl.types.rules` reads them). A feature
may meet several rules of a scheme (booleans); its primary label is the first in the order local_context,
prediction, suppression, partition, else `unclassified`. A constant row has no shape and is `degenerate`.

Beside each count stands what chance gives: the same thresholds applied to the nulls' directions. A type at
its null rate is noise with a name.

std is read as std / norm, since decoder norms vary; `variance_x_d_model` is its square times d_model.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Shaped

from fsrl.errors import FsrlError
from fsrl.names import DEGENERATE, TYPES, UNCLASSIFIED
from fsrl.types import cuts
from fsrl.types.cuts import Cut, Readings, Resolved, Rules

# Label -> (rows with it as primary label, rows that meet its rule).
_Tally = dict[str, tuple[int, int]]


def types(resolved: Resolved) -> pd.DataFrame:
    """The table `types` of one scheme: a row per feature.

    margin is the distance to the nearest bound of the primary type, as a share of the layer's features that
    lie between; for `unclassified` it is minus what the nearest type lacks (the largest distance among its
    missed bounds); null for `degenerate`.
    """
    features, rules = resolved.features, resolved.rules
    members = cuts.members(features, rules)
    found = _primary(members, features.degenerate)
    columns = {"feature": features.frame["feature"].to_numpy(), "scheme": resolved.scheme}
    absent = np.zeros(len(found), dtype=bool)
    columns |= {name: members.get(name, absent) for name in sorted(TYPES)}
    columns |= {"type": found, "margin": _margin(features, rules, found)}
    return pd.DataFrame(columns).astype({"scheme": "str", "type": "str"})


def labels(readings: Readings, rules: Rules) -> Shaped[np.ndarray, "rows"]:
    """The primary label of each row, str objects; the rows may be others than the rules came from."""
    return _primary(cuts.members(readings, rules), readings.degenerate)


def type_counts(resolved: Resolved) -> pd.DataFrame:
    """The table `type_counts` of one scheme: features of each type beside those that chance would give.

    A type that the scheme does not define has no row. members counts all features that meet a type's rule,
    features only those with it as primary label. Of several kinds of null the largest share is given, label
    by label; `type_null_counts` has them all. Raises FsrlError for a scheme resolved without a null.
    """
    n, by_chance = len(resolved.features.frame), _by_chance(resolved)
    rows = []
    for label, (primary, members) in _tally(resolved.features, resolved.rules).items():
        shares = [[count / draws for count in tally[label]] for tally, draws in by_chance.values()]
        null_share, member_null_share = map(max, zip(*shares, strict=True))
        rows.append(
            {
                "scheme": resolved.scheme,
                "type": label,
                "features": primary,
                "share": primary / n,
                "null_share": null_share,
                "expected": null_share * n,
                "members": members,
                "member_null_share": member_null_share,
            }
        )
    return pd.DataFrame(rows).astype({"scheme": "str", "type": "str"})


def type_null_counts(resolved: Resolved) -> pd.DataFrame:
    """The table `type_null_counts` of one scheme: each type's count and what each kind of null would give.

    Columns and errors as for `type_counts`, one row per type and kind in their order.
    """
    n, by_chance = len(resolved.features.frame), _by_chance(resolved)
    rows = []
    for label, (primary, members) in _tally(resolved.features, resolved.rules).items():
        for kind, (tally, draws) in by_chance.items():
            share, member_share = (count / draws for count in tally[label])
            rows.append(
                {
                    "scheme": resolved.scheme,
                    "type": label,
                    "kind": kind,
                    "draws": draws,
                    "features": primary,
                    "expected": share * n,
                    "null_share": share,
                    "members": members,
                    "member_expected": member_share * n,
                    "member_null_share": member_share,
                }
            )
    return pd.DataFrame(rows).astype({"scheme": "str", "type": "str", "kind": "str"})


def thresholds(resolved: Resolved) -> pd.DataFrame:
    """The table `thresholds` of one scheme: what each of its bounds comes to in this layer and view."""
    rows = []
    for name, rule in resolved.rules.items():
        for cut in rule:
            written = (cut.condition.column, cut.condition.word, str(cut.condition.bound))
            rows.append((resolved.scheme, name, *written, cut.value, cut.kind))
    columns = ["scheme", "type", "column", "word", "bound", "threshold", "kind"]
    text = {name: "str" for name in columns if name != "threshold"}
    return pd.DataFrame(rows, columns=columns).astype(text)


def _primary(
    members: Mapping[str, Bool[np.ndarray, "rows"]], degenerate: Bool[np.ndarray, "rows"]
) -> Shaped[np.ndarray, "rows"]:
    found = np.full(len(degenerate), UNCLASSIFIED, dtype=object)
    for name in reversed(TYPES):  # the first in precedence is written last
        if name in members:
            found[members[name]] = name
    found[degenerate] = DEGENERATE
    return found


def _by_chance(resolved: Resolved) -> dict[str, tuple[_Tally, int]]:
    """Kind of null -> its tally and number of draws."""
    if not resolved.draws:
        raise FsrlError(f"scheme {resolved.scheme}: counts by chance need null draws, and there are none")
    return {kind: (_tally(part, resolved.rules), len(part.frame)) for kind, part in resolved.draws.items()}


def _tally(readings: Readings, rules: Rules) -> _Tally:
    members = cuts.members(readings, rules)
    found = _primary(members, readings.degenerate)
    counts = {}
    for label in (*rules, UNCLASSIFIED, DEGENERATE):
        primary = int((found == label).sum())
        counts[label] = (primary, int(members[label].sum()) if label in members else primary)
    return counts


def _margin(
    features: Readings, rules: Rules, found: Shaped[np.ndarray, "rows"]
) -> Float64[np.ndarray, "rows"]:
    inside = np.full(len(found), np.nan)
    lacking = np.full(len(found), np.inf)
    for name, rule in rules.items():
        distances = [_distance(features, cut) for cut in rule]
        missed = [np.where(cut.met(features), 0.0, far) for cut, far in zip(rule, distances, strict=True)]
        mine = found == name
        inside[mine] = np.min(distances, axis=0)[mine]
        lacking = np.minimum(lacking, np.max(missed, axis=0))
    return np.where(found == UNCLASSIFIED, 0.0 - lacking, inside)


def _distance(features: Readings, cut: Cut) -> Float64[np.ndarray, "rows"]:
    """Share of the layer's features between each value and the cut; 1 where the value is missing."""
    column = cut.condition.column
    known = np.sort(features.shaped[column].dropna().to_numpy(dtype=np.float64))

    def position(x: Any) -> Any:
        # Mid-rank, so that equal values lie at no distance and each other one counts half on its own.
        below, upto = np.searchsorted(known, x, side="left"), np.searchsorted(known, x, side="right")
        return (below + upto) / (2 * max(len(known), 1))

    values = features.column(column)
    return np.where(np.isnan(values), 1.0, np.abs(position(values) - position(cut.value)))
