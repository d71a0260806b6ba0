"""What the types owe to choices that could have been others: the draws of the nulls, and how W_U is read.

    draws     All null directions of a layer, fresh ones among them, are dealt into parts. Each part bounds
              the types by itself, as fewer draws of another seed would: no direction is in two parts. It is
              judged by the next part, and compared with the types that this one gives.
    nulls     One kind of the study's own null directions bounds the types alone. It is judged by fresh ones
              of every kind, and compared with the types that all kinds together give.
    reading   W_U with the final norm's weight folded in or raw, and then over all tokens or the trained
              ones, each bounded by draws of its own, judged by fresh ones, and compared with the view's own.

Counted are the features of each type and of any (`TYPED`), beside what each kind of null gives by the same
bounds; and those whose evidence is above 1 in some tail (`EVIDENT`).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from fsrl.claims.ablation_sums import AS_IS, DRAWS, EVIDENT, NULLS, READING, TYPED, alone
from fsrl.errors import FsrlError
from fsrl.moments import engine, frames
from fsrl.names import BOUNDING, SHARED, TYPES
from fsrl.nulls import frames as nulls
from fsrl.nulls import quantiles
from fsrl.nulls.quantiles import Bounds
from fsrl.nulls.typical import typical as typical_of
from fsrl.tables.sensitivity import ABLATIONS
from fsrl.types import chance, tails
from fsrl.types.classify import Labels, Shapes, TailRows
from fsrl.types.rules import TailScheme
from fsrl.weights.matrices import Decoder, Unembedding
from fsrl.weights.transport import is_carried

FEWEST_PARTS = 2
# Fresh directions in a reading of W_U, as a share of those that bound the types there.
FRESH_SHARE = 0.25
_ONLY_MOMENTS: dict[str, Any] = {"n_extremes": 0, "n_bins": 0, "precision": "auto"}
# Label -> the rows that have it.
_Found = Mapping[str, Bool[np.ndarray, "rows"]]


@dataclass(frozen=True, eq=False)
class Hand:
    """Some null directions, rows of a table `null`, and what is kept of them to bound types."""

    rows: pd.DataFrame
    known: Bounds

    @classmethod
    def of(cls, null: pd.DataFrame) -> "Hand":
        """Of a table `null`, of which the kinds that bound nothing are left out."""
        rows = null[null["kind"].isin(BOUNDING)]
        return cls(rows, quantiles.of_draws(rows) if len(rows) else {})

    def __add__(self, other: "Hand") -> "Hand":
        """Of two that have other kinds each."""
        return Hand(pd.concat([self.rows, other.rows]), {**self.known, **other.known})


# Case -> its hands, each judged by the next one.
Deals = Mapping[str, Sequence[Hand]]


def deal(null: pd.DataFrame, fresh: pd.DataFrame, parts: Sequence[int]) -> Deals:
    """Directions that bound types and fresh ones, of tables `null`, as they are and dealt into parts.

    Those that layers share are dealt once for all of them (`of_draws`). Raises FsrlError for fewer than 2
    parts, and whatever `fsrl.nulls.quantiles` refuses.
    """
    if min(parts) < FEWEST_PARTS:
        raise FsrlError(f"ablations: {min(parts)} parts; directions are dealt into {FEWEST_PARTS} or more")
    found = {AS_IS: [Hand.of(null), Hand.of(fresh)]}
    pool = [part for _, part in pd.concat([null, fresh]).groupby("kind", sort=False)]
    for number in parts:
        dealt = ([part.iloc[first::number] for part in pool] for first in range(number))
        found[f"{number} parts"] = [Hand.of(pd.concat(one)) for one in dealt]
    return found


@dataclass(frozen=True, eq=False)
class _Bounded:
    """A layer under one choice: its types, the directions that bound them, and others that judge them.

    only: the one kind that bounds the types; None: all of them.
    """

    moments: pd.DataFrame
    null: Hand
    fresh: pd.DataFrame
    scheme: TailScheme
    only: str | None = None

    @property
    def bounds(self) -> Bounds:
        """What tails are held against. One kind alone takes the place of the isotropic one there."""
        return self.null.known if self.only is None else {SHARED: self.null.known[self.only]}

    def _read(self, frame: pd.DataFrame) -> TailRows:
        # Shapes are read beside isotropic medians whichever kind bounds, as the moments' own are.
        return TailRows(Shapes.of(frame, self.null.known), tails.log10_p(frame, self.bounds))

    @cached_property
    def features(self) -> TailRows:
        """The layer's features as the scheme reads them."""
        return self._read(self.moments)

    @cached_property
    def own(self) -> _Found:
        """The features' labels."""
        furthest = np.max(list(tails.evidence(self.moments, self.bounds).values()), axis=0)
        return _types(self.features.as_layer(self.scheme)) | {EVIDENT: furthest > 1}

    def by_chance(self, kind: str) -> dict[str, float]:
        """Label -> features that fresh directions of a kind give by the layer's bounds."""
        rows, n = self.fresh[self.fresh["kind"] == kind], len(self.moments)
        if rows.empty:
            return {}
        rows = rows.iloc[: chance.as_layers(len(rows), n)[-1].stop]  # as `type_null_counts` counts them
        reached = tails.critical(self.features.log10_p, self.scheme.levels)
        labels = self._read(rows).by(reached, self.scheme)
        return {name: n * float(has.mean()) for name, has in _types(labels).items()}

    def rows(self, about: tuple[str, str, str, int], other: "_Bounded") -> Iterator[tuple[Any, ...]]:
        """Of the table `ablations`; about: its first columns; other: what it is compared with."""
        drawn = [int((self.null.rows["kind"] == kind).sum()) for kind in BOUNDING]
        if self.only is not None:
            drawn = [of if kind == self.only else 0 for kind, of in zip(BOUNDING, drawn, strict=True)]
        given = [self.by_chance(kind) for kind in BOUNDING]
        for name, mine in self.own.items():
            theirs = other.own[name]
            counts = int(theirs.sum()), int((mine & theirs).sum())
            yield *about, *drawn, name, int(mine.sum()), *(one.get(name, np.nan) for one in given), *counts


def _types(labels: Labels) -> dict[str, Bool[np.ndarray, "rows"]]:
    """Which rows have each type, and any."""
    return {name: labels.primary == name for name in TYPES} | {TYPED: np.isin(labels.primary, TYPES)}


def of_draws(sae: str, moments: pd.DataFrame, deals: Sequence[Deals], scheme: TailScheme) -> pd.DataFrame:
    """The rows `draws`, then `nulls`, of the table `ablations` of one layer.

    moments: table `moments`; deals: of directions that layers share, and of the layer's own, if any. Where
    one kind alone bounds the study's types there are no rows `nulls`.
    """
    rows: list[tuple[Any, ...]] = []
    by_one: list[tuple[Any, ...]] = []
    for case in deals[0]:
        hands = [reduce(add, hands) for hands in zip(*(one[case] for one in deals), strict=True)]
        bounded = [
            _Bounded(moments, hand, following.rows, scheme)
            for hand, following in zip(hands, [*hands[1:], hands[0]], strict=True)
        ]
        compared = zip(bounded, [*bounded[1:], bounded[0]], strict=True)
        if case == AS_IS:  # the fresh directions judge, and bound nothing
            compared = zip(bounded[:1], bounded[:1], strict=True)
            by_one = _by_one_kind(sae, bounded[0])
        for part, (one, other) in enumerate(compared):
            rows += one.rows((sae, DRAWS, case, part), other)
    return _frame([*rows, *by_one])


def _by_one_kind(sae: str, whole: _Bounded) -> list[tuple[Any, ...]]:
    """The rows `nulls` of one layer; whole: bounded by every kind."""
    kinds = [kind for kind in BOUNDING if kind in whole.null.known]
    cases = {alone(kind): replace(whole, only=kind) for kind in kinds if len(kinds) > 1}
    return [row for case, one in cases.items() for row in one.rows((sae, NULLS, case, 0), whole)]


def readings(view: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Three ways to read W_U: the view's own, with the other W_U, and over the other tokens as well.

    view: settings of `fsrl.weights.view`. Raises FsrlError for a view with transport: it reads no W_U.
    """
    if is_carried(view):
        raise FsrlError("ablations: a view with transport does not read W_U itself; choose another view")
    w_u, tokens = view.get("w_u", "folded"), view.get("tokens", "all")
    other_w_u = "raw" if w_u == "folded" else "folded"
    other_tokens = "trained" if tokens == "all" else "all"
    return {
        f"{processed}, {kept}": {**view, "w_u": processed, "tokens": kept}
        for processed, kept in ((w_u, tokens), (other_w_u, tokens), (other_w_u, other_tokens))
    }


def of_readings(
    decoders: Iterable[Decoder],
    own: Iterable[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]],
    unembedding: Unembedding,
    view: Mapping[str, Any],
    scheme: TailScheme,
    *,
    kinds: Sequence[str],
    draws: int,
    seed: int,
) -> Iterator[pd.DataFrame]:
    """For each decoder in turn the rows `reading` of the table `ablations`.

    own: of each the study's tables in this view: `moments`, and `null` of directions that bound the
    types and of fresh ones, of which the first are taken; kinds: of layers' own null directions that bound
    the types beside isotropic ones, if any; draws: of each kind; a quarter as many are drawn afresh. Raises
    the errors of `readings` and of `fsrl.nulls.frames`.
    """
    (name_of_own, _), *others = readings(view).items()
    views = dict(others)
    settings: dict[str, Any] = {"draws": draws, "seed": seed}
    again: dict[str, Any] = {"draws": math.ceil(FRESH_SHARE * draws), "seed": nulls.fresh_seed(seed)}
    bounding = nulls.isotropic_of_views(unembedding, views, **settings)
    typical = {name: typical_of(frame) for name, frame in bounding.items()}
    fresh = nulls.isotropic_of_views(unembedding, views, typical=typical, **again)
    passes = engine.moments_of_decoders(decoders, unembedding, views, **_ONLY_MOMENTS)
    for (decoder, found), (moments, null, judges) in zip(passes, own, strict=True):
        drawn = []
        for of_all, one in ((bounding, settings), (fresh, again)):
            more = {}
            if kinds:
                more = nulls.of_layer_in_views(
                    decoder, unembedding, views, kinds=kinds, typical=typical, **one
                )
            drawn.append({name: pd.concat([frame, more.get(name)]) for name, frame in of_all.items()})
        first = _Bounded(moments, Hand.of(_first(null, draws)), _first(judges, again["draws"]), scheme)
        read = {name_of_own: first} | {
            name: _Bounded(
                frames.moments_frame(result, decoder, typical[name]),
                Hand.of(drawn[0][name]),
                drawn[1][name],
                scheme,
            )
            for name, (result, _) in found.items()
        }
        rows = [one.rows((decoder.sae, READING, name, 0), first) for name, one in read.items()]
        yield _frame([row for case in rows for row in case])


def _first(null: pd.DataFrame, draws: int) -> pd.DataFrame:
    """The first draws of each kind."""
    return null.groupby("kind", sort=False).head(draws)


def _frame(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(ABLATIONS.columns))
    return frame.astype(
        {name: "str" for name, column in ABLATIONS.columns.items() if column.dtype == "string"}
    )
