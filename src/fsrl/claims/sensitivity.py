"""What the choices decide: types as functions of each threshold, of the scheme and of the tokens.

Sweeps move one bound at a time by a factor f. A quantile bound keeps a share of the features: 1 - q for min
and above, q for max and below. That share is multiplied by f, so f < 1 is stricter. A number is multiplied
itself; 0 stays where it is. Of a scheme of tails the false discovery rates, the most tail tokens, the share
of either side and the widest tail are such numbers, and it is asked what fewer null draws would have given
(the first of them). What chance gives is counted among fresh directions by the bounds that the layer's own
discoveries then set, as in `expected_at_bounds` of `fsrl.types.chance`, and kind by kind: the most over kinds
is taken of sums over layers, not summed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from fsrl.names import BOUNDING, TYPES
from fsrl.nulls import quantiles
from fsrl.tables.sensitivity import AGREEMENT, DRAWS, SENSITIVITY, SPIKE_Q, Q
from fsrl.types import chance, classify, tails
from fsrl.types import cuts as type_cuts
from fsrl.types.classify import Labels, RuleTyping, TailRows
from fsrl.types.cuts import Cut
from fsrl.types.rules import LOWER, Condition, Scheme, TailScheme

# Of a bound: column, word, as the config writes it; factor, moved value, what it comes to.
_Bound = tuple[str, str | None, str | None, float, float, float]
_AS_IS: _Bound = ("", None, None, 1.0, np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class _Case:
    """A moved bound, the features' types with it, and of each type that it decides what chance gives: the
    share of each kind of fresh directions.
    """

    bound: _Bound
    labels: Labels
    by_chance: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class SweepInputs:
    """What a scheme reads in one layer, in its view, and which features have a significant token set.

    moments: the table; null: tables `null` of the directions that set bounds; fresh: of others.
    """

    sae: str
    moments: pd.DataFrame
    null: pd.DataFrame
    fresh: pd.DataFrame
    significant: Bool[np.ndarray, "features"]
    d_model: int


def sweep(
    layer: SweepInputs,
    schemes: Sequence[Scheme | TailScheme],
    *,
    level: Sequence[float],
    draws: Sequence[float],
    layer_share: Sequence[float],
    number: Sequence[float],
) -> pd.DataFrame:
    """The table `sensitivity` of one layer; schemes: those that read this view.

    The factors are for the level of a scheme of tails, for the number of null draws (at most 1), for bounds
    that are quantiles of the layer, and for numbers.
    """
    n = len(layer.moments)
    # Of each kind as many sets as large as the layer as there are.
    fresh = {
        str(kind): part.iloc[: chance.as_layers(len(part), n)[-1].stop]
        for kind, part in layer.fresh.groupby("kind", sort=False)
        if kind in BOUNDING
    }
    rows: list[tuple[Any, ...]] = []
    for scheme in schemes:
        if isinstance(scheme, Scheme):
            cases = _moved_rules(scheme, layer, fresh, {"q": layer_share, "absolute": number})
        else:
            cases = _moved_tails(scheme, layer, fresh, level, draws, number)
        before = next(cases).labels
        for case in cases:
            for name, shares in case.by_chance.items():
                expected = [n * shares.get(kind, np.nan) for kind in BOUNDING]
                found = _count(name, case.labels, before, expected, layer.significant)
                rows.append((layer.sae, scheme.name, name, *case.bound, *found))
    frame = pd.DataFrame(rows, columns=list(SENSITIVITY.columns))
    text = [name for name, column in SENSITIVITY.columns.items() if column.dtype == "string"]
    return frame.astype(dict.fromkeys(text, "str") | {"factor": "float64", "value": "float64"})


def _moved_rules(
    scheme: Scheme,
    layer: SweepInputs,
    fresh: Mapping[str, pd.DataFrame],
    factors: Mapping[str, Sequence[float]],
) -> Iterator[_Case]:
    """The scheme as it is, then with each bound of each rule moved by each factor."""
    resolved = type_cuts.resolve(scheme, layer.moments, d_model=layer.d_model)
    typing = classify.RuleTyping(resolved, layer.d_model)
    yield _Case(_AS_IS, typing.own(), {})
    read = {kind: type_cuts.read(directions, layer.d_model) for kind, directions in fresh.items()}
    for name, rule in resolved.rules.items():
        for place, condition in enumerate(one.condition for one in rule):
            for factor, value in moved(condition, factors[condition.bound.kind]):
                cut = _moved_cut(condition, value, typing)
                bound = (condition.column, condition.word, str(condition.bound), factor, value, cut.value)
                changed = {**resolved.rules, name: (*rule[:place], cut, *rule[place + 1 :])}
                labels = replace(typing, resolved=replace(resolved, rules=changed)).own()
                shares = {
                    kind: float(type_cuts.members(directions, {name: changed[name]})[name].mean())
                    for kind, directions in read.items()
                }
                yield _Case(bound, labels, {name: shares})


@dataclass(frozen=True, eq=False)
class _Bounded:
    """The features, and the fresh directions of each kind, under some null draws."""

    own: TailRows
    fresh: Mapping[str, TailRows]

    @classmethod
    def by(cls, null: pd.DataFrame, layer: SweepInputs, fresh: Mapping[str, pd.DataFrame]) -> "_Bounded":
        """null: of the bounding kinds."""
        known = quantiles.of_draws(null)
        judges = {kind: TailRows.of(directions, known) for kind, directions in fresh.items()}
        return cls(TailRows.of(layer.moments, known), judges)

    def case(self, bound: _Bound, scheme: TailScheme, decided: Sequence[str]) -> _Case:
        """The types under a scheme, and how many directions meet the rules of some of them."""
        reached = tails.critical(self.own.log10_p, scheme.levels)
        members = {kind: one.by(reached, scheme).members for kind, one in self.fresh.items()}
        shares = {name: {kind: float(of[name].mean()) for kind, of in members.items()} for name in decided}
        return _Case(bound, self.own.as_layer(scheme), shares)


def _moved_tails(
    scheme: TailScheme,
    layer: SweepInputs,
    fresh: Mapping[str, pd.DataFrame],
    level: Sequence[float],
    draws: Sequence[float],
    number: Sequence[float],
) -> Iterator[_Case]:
    """The scheme as it is, then with each setting moved by each factor, and with fewer null draws."""
    kinds = [part for kind, part in layer.null.groupby("kind", sort=False) if kind in BOUNDING]
    bounded = _Bounded.by(pd.concat(kinds), layer, fresh)
    yield bounded.case(_AS_IS, scheme, ())
    settings = (
        ("level", Q, "max", level, TYPES, 0.5),
        ("tail_tokens", "tail_tokens", "max", number, ("local_context",), np.inf),
        ("share", "right_share", "min", number, ("two_sided",), 0.5),
        ("tail_share", "tail_share", "max", number, ("prediction", "suppression"), 1.0),
        ("spike_level", SPIKE_Q, "max", level, ("local_context", "suppression"), 0.5),
    )
    for name, column, word, factors, decided, most in settings:
        config = getattr(scheme, name)
        for factor in factors if config is not None else ():
            if (value := config * factor) <= most:
                bound = (column, word, f"{config:.12g}", factor, value, value)
                yield bounded.case(bound, replace(scheme, **{name: value}), decided)
    for factor in draws:
        fewer = [part.iloc[: round(factor * len(part))] for part in kinds]
        value = float(max(map(len, fewer)))
        moved_draws = (DRAWS, None, None, factor, value, value)
        yield _Bounded.by(pd.concat(fewer), layer, fresh).case(moved_draws, scheme, TYPES)


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


def _moved_cut(condition: Condition, value: float, typing: RuleTyping) -> Cut:
    elsewhere = replace(condition, bound=replace(condition.bound, value=value))
    return type_cuts.cut_of(elsewhere, typing.resolved.features)


def _count(
    name: str,
    now: Labels,
    before: Labels,
    expected: Sequence[float],
    significant: Bool[np.ndarray, "features"],
) -> tuple[float, ...]:
    """features, members, what each kind gives, jaccard, significant_share of a type with other thresholds."""
    mine, config = now.members[name], before.members[name]
    either = int((mine | config).sum())
    jaccard = float((mine & config).sum() / either) if either else np.nan
    evidence = float(significant[mine].mean()) if mine.any() else np.nan
    return int((now.primary == name).sum()), int(mine.sum()), *expected, jaccard, evidence


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
