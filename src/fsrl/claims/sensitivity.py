"""What the choices decide: types as functions of each threshold, of the scheme and of the tokens.

Sweeps move one bound at a time by a factor f. A quantile bound keeps a share of the features (or of the
null's draws): 1 - q for min and above, q for max and below. That share is multiplied by f, so f < 1 is
stricter; with f = .1 and 10, null0.999 becomes null0.9999 and null0.99. A number is multiplied itself; 0
stays where it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsrl.names import TYPES
from fsrl.tables.sensitivity import AGREEMENT, SENSITIVITY
from fsrl.types import cuts as type_cuts
from fsrl.types.rules import LOWER, Condition, Scheme, parse_schemes

EVERY_NULL = "null quantiles"
# Type -> for each bound of its rule, the rows (bool) that meet it.
_Met = dict[str, list[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Layer:
    """What a scheme reads in one layer: tables `moments` and `null` of its view, and which features have a
    significant token set (bool [features]).
    """

    sae: str
    moments: pd.DataFrame
    null: pd.DataFrame
    significant: np.ndarray
    d_model: int


@dataclass(frozen=True, eq=False)
class _Setting:
    """A scheme in a layer: features and draws as rules read them, thresholds, and who meets each bound."""

    features: type_cuts.Readings
    draws: dict[str, type_cuts.Readings]
    rules: type_cuts.Rules
    met: _Met
    met_by_chance: dict[str, _Met]
    significant: np.ndarray


def sweep(
    layer: Layer,
    schemes: Mapping[str, Any],
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
    for scheme in parse_schemes(schemes):
        setting = _resolve(scheme, layer)
        for name, tests in setting.rules.items():
            for place, (condition, _) in enumerate(tests):
                for factor, value in moved(condition, factors[condition.bound.kind]):
                    cut = _threshold(condition, value, setting)
                    row = _count(setting, {name: {place: cut}}, name)
                    written = (condition.column, condition.word, str(condition.bound))
                    rows.append((layer.sae, scheme.name, name, *written, factor, value, cut, *row))
        for factor in null_tail:
            changes = _every_null(setting, factor)
            for name in setting.rules if changes is not None else ():
                row = _count(setting, changes or {}, name)
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


def _resolve(scheme: Scheme, layer: Layer) -> _Setting:
    features = type_cuts.read(layer.moments, layer.d_model)
    draws = {
        str(kind): type_cuts.read(part, layer.d_model)
        for kind, part in layer.null.groupby("kind", sort=False)
    }
    rules = type_cuts.resolve(scheme, features, layer.null, layer.d_model)
    by_chance = {kind: _meets(part, rules) for kind, part in draws.items()}
    return _Setting(features, draws, rules, _meets(features, rules), by_chance, layer.significant)


def _meets(readings: type_cuts.Readings, rules: type_cuts.Rules) -> _Met:
    return {
        name: [_met(readings, condition, cut) for condition, cut in tests] for name, tests in rules.items()
    }


def _met(readings: type_cuts.Readings, condition: Condition, cut: float) -> np.ndarray:
    compare = type_cuts.MEETS[condition.word]
    return compare(readings.column(condition), cut) & ~readings.degenerate


def _threshold(condition: Condition, value: float, setting: _Setting) -> float:
    """What a moved bound comes to, as `fsrl.types.cuts` would find it."""
    bound, column = condition.bound, condition.column
    if bound.kind == "absolute":
        return value
    if bound.kind == "q":
        known = setting.features.shaped[column].dropna()
        return float(np.quantile(known, value)) if len(known) else np.nan
    kinds = setting.draws if bound.null is None else {bound.null: setting.draws[bound.null]}
    cuts = [float(np.quantile(part.frame[column].dropna(), value)) for part in kinds.values()]
    return max(cuts) if condition.word in LOWER else min(cuts)


def _every_null(setting: _Setting, factor: float) -> dict[str, dict[int, float]] | None:
    """Type -> place of the bound -> threshold, with all null quantiles moved; None where there is none."""
    changes: dict[str, dict[int, float]] = {}
    for name, tests in setting.rules.items():
        for place, (condition, _) in enumerate(tests):
            if condition.bound.kind == "null":
                for _, value in moved(condition, [factor]):
                    changes.setdefault(name, {})[place] = _threshold(condition, value, setting)
    return changes or None


def _count(
    setting: _Setting, changes: Mapping[str, Mapping[int, float]], name: str
) -> tuple[int, int, float, float, float]:
    """features, members, expected, jaccard, significant_share of the type `name` with other thresholds."""
    now = {kind: _members(setting, setting.features, setting.met, changes, kind) for kind in setting.rules}
    before = np.logical_and.reduce(setting.met[name])
    mine = now[name]
    primary = mine.copy()
    for other in TYPES[: TYPES.index(name)]:
        if other in now:
            primary &= ~now[other]
    by_chance = max(
        float(_members(setting, part, setting.met_by_chance[kind], changes, name).mean())
        for kind, part in setting.draws.items()
    )
    either = int((mine | before).sum())
    jaccard = float((mine & before).sum() / either) if either else np.nan
    evidence = float(setting.significant[mine].mean()) if mine.any() else np.nan
    return int(primary.sum()), int(mine.sum()), by_chance * len(mine), jaccard, evidence


def _members(
    setting: _Setting,
    readings: type_cuts.Readings,
    met: _Met,
    changes: Mapping[str, Mapping[int, float]],
    name: str,
) -> np.ndarray:
    parts = list(met[name])
    for place, cut in changes.get(name, {}).items():
        parts[place] = _met(readings, setting.rules[name][place][0], cut)
    return np.logical_and.reduce(parts)


def agreement(
    sae: str,
    types: pd.DataFrame,
    others: Mapping[str, pd.DataFrame],
    view: str,
    schemes: Mapping[str, Any],
) -> pd.DataFrame:
    """The table `agreement` of one layer.

    types: table `types` in `view`, whose schemes are compared in pairs; others: view -> the same layer's
    types there, each compared with `view` under every scheme; schemes: as in the config. A type that a scheme
    does not have is not compared.
    """
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
        known = [schemes[name]["types"] for name in ([first, second] if under is None else [under])]
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


def kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's kappa of two labellings of the same things; NaN where both give all one and the same label."""
    agree = float((first == second).mean())
    by_chance = sum(float((first == label).mean() * (second == label).mean()) for label in np.unique(first))
    return (agree - by_chance) / (1 - by_chance) if by_chance < 1 else np.nan
