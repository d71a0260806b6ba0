"""Feature types after Bloom & Lin 2024: the types of a layer's features under each scheme.

The types' words are published, their thresholds never were, so several named schemes stand side by side. A
scheme of tails (the default, `calibrated`) asks what a direction's logit weights have that chance does not
give; significant means q <= level (`fsrl.types.tails`). A side is far out as a group where its skewness or
its fourth moment is significant and its tail is made of at most tail_share of the vocabulary (a wider one is
an uneven partition); and as a spike where its tail is made of at most tail_tokens tokens and its group, or
its eighth moment at spike_level, is significant:

    partition      flat
    two_sided      heavy, with a share of right_share on either side; or right and left, each a group or spike
    local_context  a spike to the right
    prediction     a group to the right
    suppression    a spike or a group to the left

Schemes of rules (`fsrl.types.rules`) bound columns by published words or numbers. A feature may meet several
rules of a scheme (booleans); its primary label is the first in the scheme's order of precedence, else
`unclassified`. A constant row has no shape and is `degenerate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64, Shaped

from fsrl.errors import FsrlError
from fsrl.names import DEGENERATE, SHARED, SPIKES, TAILS, TYPES, UNCLASSIFIED
from fsrl.nulls.quantiles import Bounds
from fsrl.types import cuts, tails
from fsrl.types.cuts import Resolved
from fsrl.types.rules import ORDER, Scheme, TailScheme

# Tails of a group on either side; then that of a spike.
RIGHT, LEFT = ("right", "right_kurtosis"), ("left", "left_kurtosis")
RIGHT_SPIKE, LEFT_SPIKE = SPIKES
# Label -> the tails that speak for it.
SPEAKING = {
    "partition": ("flat",),
    "two_sided": ("heavy", *RIGHT, *LEFT, RIGHT_SPIKE, LEFT_SPIKE),
    "local_context": (*RIGHT, RIGHT_SPIKE),
    "prediction": RIGHT,
    "suppression": (*LEFT, LEFT_SPIKE),
    UNCLASSIFIED: tuple(TAILS),
}


def speaking(label: str, scheme: TailScheme) -> tuple[str, ...]:
    """The tails that speak for a label under a scheme, which may ask no eighth moments."""
    return tuple(tail for tail in SPEAKING[label] if tail in scheme.levels)


@dataclass(frozen=True, eq=False)
class Labels:
    """Types of some rows: who meets the rule of each type, and the primary labels, str objects."""

    members: dict[str, Bool[np.ndarray, "rows"]]
    primary: Shaped[np.ndarray, "rows"]

    def rows(self, chosen: slice) -> "Labels":
        """Of some of the rows."""
        return Labels({name: met[chosen] for name, met in self.members.items()}, self.primary[chosen])


@dataclass(frozen=True, eq=False)
class RuleTyping:
    """A scheme of rules in one layer."""

    resolved: Resolved
    d_model: int | None

    @property
    def name(self) -> str:
        """The scheme's."""
        return self.resolved.scheme

    @property
    def order(self) -> tuple[str, ...]:
        """The types that it defines, in their order of precedence."""
        return tuple(self.resolved.rules)

    def own(self) -> Labels:
        """Of the layer's features."""
        return self._labels(self.resolved.features)

    def others(self, frame: pd.DataFrame) -> Labels:
        """Of other rows (with the moments' columns), by the thresholds of the layer."""
        return self._labels(cuts.read(frame, self.d_model))

    def as_layer(self, frame: pd.DataFrame) -> Labels:
        """Of rows that are taken for a layer: no threshold of the rules follows from chance."""
        return self.others(frame)

    def in_sets(self, frame: pd.DataFrame, sets: Sequence[slice]) -> tuple[list[Labels], Labels]:
        """`as_layer` of each set of rows of a frame, and `others` of all its rows."""
        found = self.others(frame)
        return [found.rows(one) for one in sets], found

    def thresholds(self) -> pd.DataFrame:
        """The table `thresholds` of this scheme: what each of its bounds comes to."""
        rows = [
            (self.name, name, one.column, one.word, str(one.bound), cut.value, None)
            for name, rule in self.resolved.rules.items()
            for cut in rule
            for one in [cut.condition]
        ]
        return _thresholds(rows)

    def _labels(self, readings: cuts.Readings) -> Labels:
        members = cuts.members(readings, self.resolved.rules)
        return Labels(members, _primary(members, readings.degenerate, ORDER))


@dataclass(frozen=True, eq=False)
class TailTyping:
    """A scheme of tails in one layer: the moments of its features, and its nulls."""

    scheme: TailScheme
    moments: pd.DataFrame
    known: Bounds

    @property
    def name(self) -> str:
        """The scheme's."""
        return self.scheme.name

    @property
    def order(self) -> tuple[str, ...]:
        """The types that it defines, in their order of precedence."""
        return TYPES

    @cached_property
    def read(self) -> "TailRows":
        """The layer's features; every label and threshold follows from it."""
        return TailRows.of(self.moments, self.known)

    def own(self) -> Labels:
        """Of the layer's features."""
        return self.read.as_layer(self.scheme)

    def as_layer(self, frame: pd.DataFrame) -> Labels:
        """Of rows that are taken for a layer: significant by their own false discovery rate."""
        return TailRows.of(frame, self.known).as_layer(self.scheme)

    def others(self, frame: pd.DataFrame) -> Labels:
        """Of other rows (with the moments' columns), by the p that is significant in the layer."""
        return TailRows.of(frame, self.known).by(self.critical(), self.scheme)

    def in_sets(self, frame: pd.DataFrame, sets: Sequence[slice]) -> tuple[list[Labels], Labels]:
        """`as_layer` of each set of rows of a frame, and `others` of all its rows, which are read once."""
        read = TailRows.of(frame, self.known)
        return [read.rows(one).as_layer(self.scheme) for one in sets], read.by(self.critical(), self.scheme)

    def critical(self) -> dict[str, float]:
        """Tail -> the largest log10 p that is significant in the layer (`fsrl.types.tails.critical`)."""
        return tails.critical(self.read.log10_p, self.scheme.levels)

    def thresholds(self) -> pd.DataFrame:
        """The table `thresholds`: of each type's tails the value from which a feature is significant.

        Where no feature is, what one alone would have to reach. Any one of a type's tails does.
        """
        reached, scheme = self.critical(), self.scheme
        rows: list[tuple[Any, ...]] = []
        of_types = {name: speaking(name, scheme) for name in TYPES} | {"two_sided": ("heavy",)}
        for name, asked in of_types.items():
            for tail in asked:
                value, kind = tails.critical_value(self.known, tail, reached[tail])
                column, sign = tails.COLUMNS[tail]
                word = "min" if sign > 0 else "max"
                bound = f"q<={scheme.levels[tail]:.12g}"
                rows.append((self.name, name, column, word, bound, value, kind))
            rows += [(self.name, name, *bound, None) for bound in _shape_bounds(name, scheme)]
        return _thresholds(rows)


def _shape_bounds(label: str, scheme: TailScheme) -> list[tuple[str, str, str, float]]:
    """Column, word, bound as written and threshold of what a type asks beside its tails."""
    tokens, share = f"{scheme.tail_tokens:.12g}", f"{scheme.share:.12g}"
    if label == "two_sided":
        upper = ("right_share", "max", f"1-{share}", 1 - scheme.share)
        return [("right_share", "min", share, scheme.share), upper]
    if label == "local_context":
        return [("tail_tokens", "max", tokens, scheme.tail_tokens)]
    if label in ("prediction", "suppression") and scheme.tail_share is not None:
        return [("tail_share", "max", f"{scheme.tail_share:.12g}", scheme.tail_share)]
    return []


Typing = RuleTyping | TailTyping


def typing_of(
    scheme: Scheme | TailScheme,
    moments: pd.DataFrame,
    known: Bounds | None = None,
    *,
    d_model: int | None = None,
) -> Typing:
    """A scheme in one layer.

    moments: table `moments` of the layer, whole, in the view that the scheme reads; known: what
    `fsrl.nulls.quantiles` keeps of that view's nulls, for a scheme of tails; d_model: for rules on
    variance_x_d_model. Raises FsrlError where one of them is needed and missing.
    """
    if isinstance(scheme, Scheme):
        return RuleTyping(cuts.resolve(scheme, moments, d_model=d_model), d_model)
    if known is None:
        raise FsrlError(f"scheme {scheme.name}: needs the null quantiles of the view; build them first")
    tails.bounding(known)
    return TailTyping(scheme, moments, known)


def types(typing: Typing) -> pd.DataFrame:
    """The table `types` of one scheme: a row per feature."""
    own = typing.own()
    moments = typing.moments if isinstance(typing, TailTyping) else typing.resolved.features.frame
    absent = np.zeros(len(moments), dtype=bool)
    columns = {"feature": moments["feature"].to_numpy(), "scheme": typing.name}
    columns |= {name: own.members.get(name, absent) for name in sorted(TYPES)}
    spike = pd.Series(absent, dtype="boolean").mask(~absent)
    evidence = np.full(len(moments), np.nan)
    if isinstance(typing, TailTyping):
        few = moments["left_tail_tokens"].to_numpy(dtype=np.float64) <= typing.scheme.tail_tokens
        spike = pd.Series(few, dtype="boolean").mask(~own.members["suppression"])
        evidence = _evidence(typing, own)
    columns |= {"spike": spike, "type": own.primary, "evidence": evidence}
    return pd.DataFrame(columns).astype({"scheme": "str", "type": "str"})


@dataclass(frozen=True, eq=False)
class Shapes:
    """What a scheme of tails reads of rows beside their tails."""

    right_share: Float64[np.ndarray, "rows"]
    tail_tokens: Float64[np.ndarray, "rows"]
    left_tail_tokens: Float64[np.ndarray, "rows"]
    # Shares of the vocabulary that make either tail.
    tail_share: Float64[np.ndarray, "rows"]
    left_tail_share: Float64[np.ndarray, "rows"]
    degenerate: Bool[np.ndarray, "rows"]

    @classmethod
    def of(cls, frame: pd.DataFrame, known: Bounds) -> "Shapes":
        """Of a table `moments` or `null`; known: of the view's nulls (what is typical)."""
        names = ("right_share", "tail_tokens", "left_tail_tokens", "right_kurtosis", "kurtosis")
        share, tokens, left_tokens, right, kurtosis = (
            frame[name].to_numpy(dtype=np.float64) for name in names
        )
        right_part, left_part = (
            _tail_share(fourth, frame[eighth].to_numpy(dtype=np.float64), known)
            for fourth, eighth in ((right, RIGHT_SPIKE), (kurtosis - right, LEFT_SPIKE))
        )
        degenerate = (frame["skewness"].isna() | frame["kurtosis"].isna()).to_numpy()
        return cls(share, tokens, left_tokens, right_part, left_part, degenerate)

    def rows(self, chosen: "slice | Int64[np.ndarray, 'chosen']") -> "Shapes":
        """Of some of the rows, in the given order."""
        return Shapes(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class TailRows:
    """What a scheme of tails reads of some rows; it does not depend on the scheme's settings."""

    shapes: Shapes
    log10_p: tails.PerTail

    @classmethod
    def of(cls, frame: pd.DataFrame, known: Bounds) -> "TailRows":
        """Of a table `moments` or `null`; known: of the view's nulls. Each row is read by itself."""
        return cls(Shapes.of(frame, known), tails.log10_p(frame, known))

    def rows(self, chosen: slice) -> "TailRows":
        """Some of the rows."""
        return TailRows(self.shapes.rows(chosen), {tail: p[chosen] for tail, p in self.log10_p.items()})

    def as_layer(self, scheme: TailScheme) -> Labels:
        """Types of the rows, taken for a layer: significant by their own false discovery rate."""
        return tail_labels(self.shapes, tails.significant(self.log10_p, scheme.levels), scheme)

    def by(self, least: Mapping[str, float], scheme: TailScheme) -> Labels:
        """Types of the rows; least: tail -> the largest log10 p that is significant."""
        called = {tail: self.log10_p[tail] <= one for tail, one in least.items()}
        return tail_labels(self.shapes, called, scheme)


def _tail_share(
    fourth: Float64[np.ndarray, "rows"], eighth: Float64[np.ndarray, "rows"], known: Bounds
) -> Float64[np.ndarray, "rows"]:
    """`fsrl.moments.formulas.tail_tokens` over the number of tokens, which no table says."""
    typical = known[SHARED]
    rise, eighth_rise = fourth - typical["right_kurtosis"].median, eighth - typical["right_eighth"].median
    with np.errstate(divide="ignore", invalid="ignore"):
        share = rise**2 / eighth_rise
    return np.where((rise <= 0) | (eighth_rise <= 0), np.inf, share)


def tail_labels(shapes: Shapes, called: Mapping[str, Bool[np.ndarray, "rows"]], scheme: TailScheme) -> Labels:
    """Types of rows; called: tail -> which of them are significant."""
    widest = np.inf if scheme.tail_share is None else scheme.tail_share
    sides = []
    for group, spike, tokens, part in (
        (RIGHT, RIGHT_SPIKE, shapes.tail_tokens, shapes.tail_share),
        (LEFT, LEFT_SPIKE, shapes.left_tail_tokens, shapes.left_tail_share),
    ):
        far = np.logical_or.reduce([called[tail] for tail in group]) & (part <= widest)
        few = (far | called.get(spike, np.False_)) & (tokens <= scheme.tail_tokens)
        sides.append((far, few))
    (right, right_spike), (left, left_spike) = sides
    share = shapes.right_share
    both = (share >= scheme.share) & (share <= 1 - scheme.share)
    members = {
        "partition": called["flat"],
        "two_sided": (called["heavy"] & both) | ((right | right_spike) & (left | left_spike)),
        "local_context": right_spike,
        "prediction": right,
        "suppression": left | left_spike,
    }
    return Labels(members, _primary(members, shapes.degenerate, TYPES))


def _evidence(typing: TailTyping, own: Labels) -> Float64[np.ndarray, "features"]:
    """The largest over the tails that speak for each feature's label."""
    found, of_tails = np.full(len(own.primary), np.nan), tails.evidence(typing.moments, typing.known)
    for label in SPEAKING:
        mine = own.primary == label
        found[mine] = np.max([of_tails[tail][mine] for tail in speaking(label, typing.scheme)], axis=0)
    return found


def _primary(
    members: Mapping[str, Bool[np.ndarray, "rows"]],
    degenerate: Bool[np.ndarray, "rows"],
    order: tuple[str, ...],
) -> Shaped[np.ndarray, "rows"]:
    found = np.full(len(degenerate), UNCLASSIFIED, dtype=object)
    for name in reversed(order):  # the first in precedence is written last
        if name in members:
            found[members[name]] = name
    found[degenerate] = DEGENERATE
    return found


def _thresholds(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    columns = ["scheme", "type", "column", "word", "bound", "threshold", "kind"]
    text = {name: "str" for name in columns if name != "threshold"}
    return pd.DataFrame(rows, columns=columns).astype(text | {"threshold": "float64"})
