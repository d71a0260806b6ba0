"""The language of the type rules: what the config says, read strictly. Imports nothing heavy.

A scheme holds rules, one per type; a rule is a conjunction of bounds on columns:

    post:
      view: null                        # the view being typed; a name: always that view's moments
      types:
        local_context: {kurtosis: {min: q0.90}, std: {max: q0.50}}

Words: min (>=), above (>), max (<=), below (<). A bound is a number or a within-layer quantile ("q0.90").
Every mistake raises an FsrlError that says where it stands.

Schemes of this language have published words or numbers for four types; what chance gives enters none of
them. `fsrl.types.tails` is the scheme that chance defines: in the config it has settings, and no rules.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsrl.errors import FsrlError
from fsrl.names import SPIKES, TAILS

# `std` means std / norm, and `variance_x_d_model` its square times d_model: norms and widths vary.
COLUMNS = (
    "mean",
    "std",
    "skewness",
    "kurtosis",
    "right_kurtosis",
    "left_kurtosis",
    "right_share",
    "tail_tokens",
    "left_tail_tokens",
    "bimodality",
    "norm",
    "variance_x_d_model",
)
# The types that rules can define, in their order of precedence.
ORDER = ("local_context", "prediction", "suppression", "partition")
LOWER, UPPER = ("min", "above"), ("max", "below")
WORDS = LOWER + UPPER
SIGNS = {"min": "≥", "above": ">", "max": "≤", "below": "<"}  # of the words, where a rule is shown

_QUANTILE = re.compile(r"q(\d+(?:\.\d*)?|\.\d+)")


@dataclass(frozen=True)
class Bound:
    """A threshold as written: kind "absolute" or "q" (within-layer); value, or quantile in 0..1."""

    kind: str
    value: float

    def __str__(self) -> str:
        prefix = "" if self.kind == "absolute" else self.kind
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


@dataclass(frozen=True)
class TailScheme:
    """A scheme of tails that chance does not reach (`fsrl.types.tails`); it types each view by itself.

    level: false discovery rate over a layer and tail; tail_tokens: most tokens of a local context, or of a
    spike; share: least share of the excess kurtosis that each side of a two-sided feature has; tail_share:
    largest share of the vocabulary that a group makes its tail of (None: any); spike_level: false discovery
    rate of the eighth moments (None: they are not asked).
    """

    name: str
    level: float
    tail_tokens: float
    share: float
    tail_share: float | None = None
    spike_level: float | None = None
    view: None = None

    @property
    def levels(self) -> dict[str, float]:
        """Tail (`fsrl.names.TAILS`) -> its false discovery rate, for those that are asked."""
        spikes = {} if self.spike_level is None else dict.fromkeys(SPIKES, self.spike_level)
        return {tail: self.level for tail in TAILS if tail not in SPIKES} | spikes


def parse_bound(value: Any, place: str = "bound") -> Bound:
    """Read `3.0` or `"q0.90"`; FsrlError with `place` for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return Bound("absolute", float(value))
    match = _QUANTILE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise FsrlError(f"{place}: {value!r} is no bound; write a number, or a quantile such as q0.90")
    quantile = float(match[1])
    if not 0 <= quantile <= 1:
        raise FsrlError(f"{place}: quantile {match[1]} in {value!r} must lie between 0 and 1")
    return Bound("q", quantile)


def parse_schemes(schemes: Mapping[str, Any]) -> list[Scheme | TailScheme]:
    """Read the config's `schemes` (name -> scheme); FsrlError at the first mistake, with its place."""
    _require_mapping(schemes, "schemes")
    return [parse_scheme(str(name), scheme) for name, scheme in schemes.items()]


def parse_scheme(name: str, scheme: Any) -> Scheme | TailScheme:
    """Read one scheme of the config: of rules (view, types) or of tails (level, tail_tokens, share, and
    where they are wanted tail_share and spike_level).

    Raises FsrlError at the first mistake, with its place.
    """
    place = f"scheme {name}"
    _require_mapping(scheme, place)
    if not {"view", "types"} & set(scheme):
        return _parse_tails(name, scheme, place)
    _refuse_unknown(scheme, ("view", "types"), place, "key")
    view = scheme.get("view")
    if not (view is None or isinstance(view, str)):
        raise FsrlError(
            f"{place}: view is {view!r}; write the name of a view, or null for the view being typed"
        )
    if "types" not in scheme:
        raise FsrlError(f"{place}: no types; give at least one of {', '.join(ORDER)}")
    _require_mapping(scheme["types"], f"{place}, types")
    _refuse_unknown(scheme["types"], ORDER, place, "type")
    rules = {kind: _parse_rule(scheme["types"][kind], f"{place}, type {kind}") for kind in scheme["types"]}
    return Scheme(name, view, rules)


# Setting of a scheme of tails -> what it lies between, ends left out, but for the last end of share.
_SETTINGS = {"level": (0.0, 0.5), "tail_tokens": (0.0, math.inf), "share": (0.0, 0.5)}
# The same of settings that a scheme may leave out.
_OPTIONAL = {"tail_share": (0.0, 1.0), "spike_level": (0.0, 0.5)}


def _parse_tails(name: str, scheme: Mapping[str, Any], place: str) -> TailScheme:
    _refuse_unknown(scheme, (*_SETTINGS, *_OPTIONAL), place, "key")
    numbers: dict[str, Any] = {}
    for key, (low, high) in (_SETTINGS | _OPTIONAL).items():
        if key not in scheme and key in _OPTIONAL:
            continue
        if key not in scheme:
            raise FsrlError(f"{place}: no {key}; give {', '.join(_SETTINGS)} (or view and types, for rules)")
        value = scheme[key]
        known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not known or not low < value <= high:
            within = "more than 0" if math.isinf(high) else f"more than 0 and at most {high:g}"
            raise FsrlError(f"{place}: {key} is {value!r}; write a number {within}")
        numbers[key] = float(value)
    return TailScheme(name, **numbers)


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
    if low.bound.kind == high.bound.kind:
        strict = low.word == "above" or high.word == "below"
        if low.bound.value > high.bound.value or (strict and low.bound.value == high.bound.value):
            raise FsrlError(
                f"{place}: {low.word} {low.bound.value:g} and {high.word} {high.bound.value:g} "
                "leave nothing; exchange or widen them"
            )


def _require_mapping(value: Any, place: str) -> None:
    if not isinstance(value, Mapping) or not value:
        raise FsrlError(f"{place}: {value!r} should be a mapping with at least one entry")


def _refuse_unknown(mapping: Mapping[Any, Any], known: tuple[str, ...], place: str, what: str) -> None:
    for key in mapping:
        if key not in known:
            raise FsrlError(f"{place}: unknown {what} {key!r}; choose from {', '.join(known)}")
