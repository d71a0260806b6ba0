"""The language of the type rules: what the config says, read strictly. Imports nothing heavy.

A scheme holds rules, one per type; a rule is a conjunction of bounds on columns:

    calibrated:
      view: null                        # the view being typed; a name: always that view's moments
      types:
        prediction: {skewness: {above: null0.999}}

Words: min (>=), above (>), max (<=), below (<). A bound is a number, a within-layer quantile ("q0.90"), a
quantile of the nulls ("null0.999": to be met against every null that was run, so the most extreme decides),
or a quantile of one null by name ("isotropic0.999"; names in `fsrl.names`). Every mistake raises an
FsrlError that says where it stands.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fsrl.errors import FsrlError
from fsrl.names import KINDS, TYPES

# `std` means std / norm, and `variance_x_d_model` its square times d_model: norms and widths vary.
COLUMNS = (
    "mean",
    "std",
    "skewness",
    "kurtosis",
    "bimodality",
    "right_kurtosis",
    "left_kurtosis",
    "right_share",
    "tail_tokens",
    "left_tail_tokens",
    "norm",
    "variance_x_d_model",
)
LOWER, UPPER = ("min", "above"), ("max", "below")
WORDS = LOWER + UPPER
SIGNS = {"min": "≥", "above": ">", "max": "≤", "below": "<"}  # of the words, where a rule is shown

_QUANTILE = re.compile(rf"(q|null|{'|'.join(KINDS)})(\d+(?:\.\d*)?|\.\d+)")


@dataclass(frozen=True)
class Bound:
    """A threshold as written: kind "absolute", "q" (within-layer) or "null"; value, or quantile in 0..1.

    null: of which null kind the quantile is; None for the most extreme of all that were run.
    """

    kind: str
    value: float
    null: str | None = None

    def __str__(self) -> str:
        prefix = "" if self.kind == "absolute" else self.null or self.kind
        return f"{prefix}{self.value:.12g}"


@dataclass(frozen=True)
class Condition:
    """One bound on one column, with its place for messages."""

    column: str
    word: str
    bound: Bound
    place: str


@dataclass(frozen=True)
class Scheme:
    """A named set of rules: type -> conditions that must all hold; view None means the view being typed."""

    name: str
    view: str | None
    rules: dict[str, tuple[Condition, ...]]


def parse_bound(value: Any, place: str = "bound") -> Bound:
    """Read `3.0`, `"q0.90"` or `"null0.999"`; FsrlError with `place` for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return Bound("absolute", float(value))
    match = _QUANTILE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise FsrlError(f"{place}: {value!r} is no bound; write a number, a quantile q0.90 or null0.999")
    source, quantile = match[1], float(match[2])
    if not 0 <= quantile <= 1:
        raise FsrlError(f"{place}: quantile {match[2]} in {value!r} must lie between 0 and 1")
    return Bound("null", quantile, source) if source in KINDS else Bound(source, quantile)


def parse_schemes(schemes: Mapping[str, Any], nulls: Collection[str] | None = None) -> list[Scheme]:
    """Read the config's `schemes` (name -> scheme); FsrlError at the first mistake, with its place.

    nulls: the kinds of null that are run; a quantile of another one is a mistake. None: not known here.
    """
    _require_mapping(schemes, "schemes")
    parsed = [parse_scheme(str(name), scheme) for name, scheme in schemes.items()]
    if nulls is not None:
        for scheme in parsed:
            for rule in scheme.rules.values():
                for condition in rule:
                    check_null(condition, nulls)
    return parsed


def check_null(condition: Condition, nulls: Collection[str]) -> None:
    """Refuse a bound that is a quantile of a null which is not among `nulls`, those that are run."""
    bound = condition.bound
    if bound.kind != "null":
        return
    if not nulls:
        raise FsrlError(f"{condition.place}: {bound} needs null draws, and there are none")
    if bound.null is not None and bound.null not in nulls:
        raise FsrlError(
            f"{condition.place}: {bound} needs null {bound.null}, which was not run; "
            f"there are {', '.join(nulls)}"
        )


def parse_scheme(name: str, scheme: Any) -> Scheme:
    """Read one scheme of the config; FsrlError at the first mistake, with its place."""
    place = f"scheme {name}"
    _require_mapping(scheme, place)
    _refuse_unknown(scheme, ("view", "types"), place, "key")
    view = scheme.get("view")
    if not (view is None or isinstance(view, str)):
        raise FsrlError(
            f"{place}: view is {view!r}; write the name of a view, or null for the view being typed"
        )
    if "types" not in scheme:
        raise FsrlError(f"{place}: no types; give at least one of {', '.join(TYPES)}")
    _require_mapping(scheme["types"], f"{place}, types")
    _refuse_unknown(scheme["types"], TYPES, place, "type")
    rules = {kind: _parse_rule(scheme["types"][kind], f"{place}, type {kind}") for kind in scheme["types"]}
    return Scheme(name, view, rules)


def _parse_rule(rule: Any, place: str) -> tuple[Condition, ...]:
    _require_mapping(rule, place)
    _refuse_unknown(rule, COLUMNS, place, "column")
    conditions = []
    for column, bounds in rule.items():
        at = f"{place}, column {column}"
        _require_mapping(bounds, at)
        _refuse_unknown(bounds, WORDS, at, "bound word")
        parsed = [
            Condition(column, word, parse_bound(bound, f"{at}, {word}"), f"{at}, {word}")
            for word, bound in bounds.items()
        ]
        _check_order(parsed, at)
        conditions += parsed
    return tuple(conditions)


def _check_order(conditions: list[Condition], place: str) -> None:
    """Refuse two bounds on the same side, and a lower bound that leaves nothing below the upper one."""
    lower = [condition for condition in conditions if condition.word in LOWER]
    upper = [condition for condition in conditions if condition.word in UPPER]
    for side in (lower, upper):
        if len(side) > 1:
            raise FsrlError(f"{place}: both {side[0].word} and {side[1].word}; give one of them")
    if not (lower and upper):
        return
    low, high = lower[0], upper[0]
    # Other bounds can be compared only when the data are there.
    if _same_scale(low.bound, high.bound):
        strict = low.word == "above" or high.word == "below"
        if low.bound.value > high.bound.value or (strict and low.bound.value == high.bound.value):
            raise FsrlError(
                f"{place}: {low.word} {low.bound.value:g} and {high.word} {high.bound.value:g} "
                "leave nothing; exchange or widen them"
            )


def _same_scale(low: Bound, high: Bound) -> bool:
    """Whether the order of two bounds is known from how they are written. A quantile that must be met against
    every null lies beyond that of any one of them.
    """
    return low.kind == high.kind and (low.null == high.null or None in (low.null, high.null))


def _require_mapping(value: Any, place: str) -> None:
    if not isinstance(value, Mapping) or not value:
        raise FsrlError(f"{place}: {value!r} should be a mapping with at least one entry")


def _refuse_unknown(mapping: Mapping[Any, Any], known: tuple[str, ...], place: str, what: str) -> None:
    for key in mapping:
        if key not in known:
            raise FsrlError(f"{place}: unknown {what} {key!r}; choose from {', '.join(known)}")
