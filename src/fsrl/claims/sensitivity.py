"""What the choices decide: types as functions of each threshold, of the scheme and of the tokens.

Sweeps move one bound at a time by a factor f. A quantile bound keeps a share of the features (or of the
null's draws): 1 - q for min and above, q for max and below. That share is multiplied by f, so f < 1 is
stricter; with f = .1 and 10, null0.999 becomes null0.9999 and null0.99. A number is multiplied itself; 0
stays where it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from fsrl.names import TYPES
from fsrl.tables.sensitivity import AGREEMENT, EVERY_NULL, SENSITIVITY
from fsrl.types import cuts as type_cuts
from fsrl.types.cuts import Cut, Readings, Resolved
from fsrl.types.rules import LOWER, ORDER, Condition, Scheme, TailScheme

# Type -> for each bound of its rule, the rows that meet it, in a table of any length.
_Met = dict[str, list[Bool[np.ndarray, "_rows"]]]
# Type -> place of a bound in its rule -> the cut that takes its place.
_Changes = Mapping[str, Mapping[int, Cut]]


@dataclass(frozen=True, eq=False)
class SweepInputs:
    """What a scheme reads in one layer: tables `moments` and `null` of its view, and which features have a
    significant token set.
    """

    sae: str
    moments: pd.DataFrame
    null: pd.DataFrame
    significant: Bool[np.ndarray, "features"]
    d_model: int


@dataclass(frozen=True, eq=False)
class _Setting:
    """A scheme resolved in a layer, who meets each of its bounds, and who is significant."""

    resolved: Resolved
    draws: dict[str, Readings]
    met: _Met
    met_by_chance: dict[str, _Met]
    significant: Bool[np.ndarray, "features"]


def sweep(
    layer: SweepInputs,
    schemes: Sequence[Scheme | TailScheme],
    *,
    null_tail: Sequence[float],
    layer_share: Sequence[float],
    number: Sequence[float],
) -> pd.DataFrame:
    """The table `sensitivity` of one layer; schemes: those that read this view.

    The factors are for bounds that are quantiles of the nulls, quantiles of the layer, and numbers.
    """
    factors = {"null": null_tail, "q": layer_share, "absolute": number}
    rows: list[tuple[Any, ...]] = []
    for scheme in schemes:
        if isinstance(scheme, TailScheme):
            continue
        setting = _setting(scheme, layer)
        for name, rule in setting.resolved.rules.items():
            for place, condition in enumerate(one.condition for one in rule):
                for factor, value in moved(condition, factors[condition.bound.kind]):
                    cut = _moved_cut(condition, value, setting)
                    row = _count(setting, {name: {place: cut}}, name)
                    written = (condition.column, condition.word, str(condition.bound))
                    rows.append((layer.sae, scheme.name, name, *written, factor, value, cut.value, *row))
        for factor in null_tail:
            changes = _every_null(setting, factor)
            for name in setting.resolved.rules if changes else ():
                row = _count(setting, changes, name)
                rows.append(
                    (layer.sae, scheme.name, name, EVERY_NULL, None, None, factor, np.nan, np.nan, *row)
                )
    frame = pd.DataFrame(rows, columns=list(SENSITIVITY.columns))
    text = [name for name, column in SENSITIVITY.columns.items() if column.dtype == "string"]
    return frame.astype(dict.fromkeys(text, "str") | {"factor": "float64", "value": "float64"})


def moved(condition: Condition, factors: Sequence[float]) -> Iterator[tuple[float, float]]:
    """(factor, moved bound) for each factor that leaves a bound: a quantile inside (0, 1), a number not 0."""
    bound = condition.bound
    for factor in factors:
        if bound.kind == "absolute":
            if bound.value != 0:
                yield factor, bound.value * factor
            continue
        lower = condition.word in LOWER
        kept = (1 - bound.value if lower else bound.value) * factor
        if 0 < kept < 1:
            yield factor, 1 - kept if lower else kept


def _setting(scheme: Scheme, layer: SweepInputs) -> _Setting:
    resolved = type_cuts.resolve(scheme, layer.moments, d_model=layer.d_model)
    kinds = layer.null.groupby("kind", sort=False)
    draws = {str(kind): type_cuts.read(part, layer.d_model) for kind, part in kinds}
    by_chance = {kind: _meets(part, resolved) for kind, part in draws.items()}
    return _Setting(resolved, draws, _meets(resolved.features, resolved), by_chance, layer.significant)


def _meets(readings: Readings, resolved: Resolved) -> _Met:
    return {name: [cut.met(readings) for cut in rule] for name, rule in resolved.rules.items()}


def _moved_cut(condition: Condition, value: float, setting: _Setting) -> Cut:
    elsewhere = replace(condition, bound=replace(condition.bound, value=value))
    return type_cuts.cut_of(elsewhere, setting.resolved.features)


def _every_null(setting: _Setting, factor: float) -> _Changes:
    """What changes with all null quantiles moved; empty where there is none."""
    changes: dict[str, dict[int, Cut]] = {}
    for name, rule in setting.resolved.rules.items():
        for place, condition in enumerate(one.condition for one in rule):
            if condition.bound.kind == "null":
                for _, value in moved(condition, [factor]):
                    changes.setdefault(name, {})[place] = _moved_cut(condition, value, setting)
    return changes


def _count(setting: _Setting, changes: _Changes, name: str) -> tuple[int, int, float, float, float]:
    """features, members, expected, jaccard, significant_share of the type `name` with other thresholds."""
    resolved = setting.resolved
    now = {each: _members(resolved.features, met, changes.get(each, {})) for each, met in setting.met.items()}
    before = np.logical_and.reduce(setting.met[name])
    mine = now[name]
    primary = mine.copy()
    for other in ORDER[: ORDER.index(name)]:
        if other in now:
            primary &= ~now[other]
    by_chance = max(
        float(_members(part, setting.met_by_chance[kind][name], changes.get(name, {})).mean())
        for kind, part in setting.draws.items()
    )
    either = int((mine | before).sum())
    jaccard = float((mine & before).sum() / either) if either else np.nan
    evidence = float(setting.significant[mine].mean()) if mine.any() else np.nan
    return int(primary.sum()), int(mine.sum()), by_chance * len(mine), jaccard, evidence


def _members(
    readings: Readings, met: Sequence[Bool[np.ndarray, "rows"]], changes: Mapping[int, Cut]
) -> Bool[np.ndarray, "rows"]:
    """Which rows meet every bound of a rule, some of them (by place) changed."""
    parts = list(met)
    for place, cut in changes.items():
        parts[place] = cut.met(readings)
    return np.logical_and.reduce(parts)


def agreement(
    sae: str,
    types: pd.DataFrame,
    others: Mapping[str, pd.DataFrame],
    view: str,
    schemes: Sequence[Scheme | TailScheme],
) -> pd.DataFrame:
    """The table `agreement` of one layer.

    types: table `types` in `view`, whose schemes are compared in pairs; others: view -> the same layer's
    types there, each compared with `view` under every scheme. A type that a scheme does not have is not
    compared.
    """
    rules = {
        scheme.name: TYPES if isinstance(scheme, TailScheme) else tuple(scheme.rules) for scheme in schemes
    }
    mine = {str(scheme): part for scheme, part in types.groupby("scheme", sort=False)}
    pairs: list[tuple[str, str, str, str | None, pd.DataFrame, pd.DataFrame]] = [
        ("schemes", first, second, None, mine[first], mine[second])
        for number, first in enumerate(mine)
        for second in list(mine)[number + 1 :]
    ]
    for other, table in others.items():
        for scheme, part in table.groupby("scheme", sort=False):
            pairs.append(("views", view, other, str(scheme), mine[str(scheme)], part))
    rows = []
    for compared, first, second, under, left, right in pairs:
        known = [rules[name] for name in ([first, second] if under is None else [under])]
        shared = [name for name in TYPES if all(name in types for types in known)]
        for kind, found in _agree(left, right, shared):
            rows.append((sae, compared, first, second, under, kind, *found))
    frame = pd.DataFrame(rows, columns=list(AGREEMENT.columns))
    text = [name for name, column in AGREEMENT.columns.items() if column.dtype == "string"]
    return frame.astype(dict.fromkeys(text, "str"))


def _agree(
    left: pd.DataFrame, right: pd.DataFrame, names: Sequence[str]
) -> Iterator[tuple[str, tuple[int, int, int, float, float]]]:
    """For each type, and the primary labels (any): both counts, those in common, Jaccard, kappa."""
    for name in names:
        first, second = left[name].to_numpy(dtype=bool), right[name].to_numpy(dtype=bool)
        both, either = int((first & second).sum()), int((first | second).sum())
        jaccard = both / either if either else np.nan
        yield name, (int(first.sum()), int(second.sum()), both, jaccard, kappa(first, second))
    labels = [frame["type"].to_numpy(dtype=str) for frame in (left, right)]
    typed = [np.isin(label, TYPES) for label in labels]
    both = int((typed[0] & (labels[0] == labels[1])).sum())
    either = int((typed[0] | typed[1]).sum())
    jaccard = both / either if either else np.nan
    yield "any", (int(typed[0].sum()), int(typed[1].sum()), both, jaccard, kappa(*labels))


def kappa(first: Shaped[np.ndarray, "things"], second: Shaped[np.ndarray, "things"]) -> float:
    """Cohen's (1960) kappa of two labellings of the same things; NaN where both give all the same label."""
    agree = float((first == second).mean())
    by_chance = sum(float((first == label).mean() * (second == label).mean()) for label in np.unique(first))
    return (agree - by_chance) / (1 - by_chance) if by_chance < 1 else np.nan
