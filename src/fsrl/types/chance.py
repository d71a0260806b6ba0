"""How many features of each type, beside how many chance gives, and how sure the count is.

Chance is what *fresh* null directions get, which set no bound. They are counted in two ways: in sets as
large as the layer, each labelled as if it were one, with a false discovery rate of its own (`expected`: what
a layer without meaning would show); and by the thresholds that the layer's own discoveries have set
(`expected_at_bounds`: how many of its labels may be chance; the rate lets it grow with the discoveries).
A type at its null rate is noise with a name.

The interval of a count holds what would change it if the layer were made again: features come in clusters of
near copies (`fsrl.stats.odds.decoder_clusters`), which are drawn with replacement, and the bounds come from a
finite number of null directions, which are drawn with replacement as well. The shape of the null's Pareto
tail and the bounds of a scheme of rules stay as they are.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64, Shaped

from fsrl.errors import FsrlError
from fsrl.names import BOUNDING, DEGENERATE, UNCLASSIFIED
from fsrl.types import tails
from fsrl.types.classify import Labels, TailTyping, Typing, tail_labels

DRAWS = 200
INTERVAL = (0.025, 0.975)
# Label -> (rows with it as primary label, rows that meet its rule).
Tally = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Counted:
    """Fresh directions of one kind: how many, labels as layers of their own and by the layer's bounds."""

    draws: int
    as_layers: Tally
    at_bounds: Tally


# Kind of null -> what its fresh directions get.
Chance = dict[str, Counted]


def type_counts(
    typing: Typing, by_chance: Chance, clusters: Int64[np.ndarray, "features"], *, seed: int
) -> pd.DataFrame:
    """The table `type_counts` of one scheme: features of each type beside those that chance would give.

    by_chance: as `chance` gives it; clusters: of the features, as `fsrl.stats.odds.decoder_clusters` gives
    them; seed: of the intervals. A type that the scheme does not define has no row. members counts all
    features that meet a type's rule, features only those with it as primary label. Of the bounding kinds the
    largest share is given, label by label; `type_null_counts` has every kind. Raises FsrlError without fresh
    directions of a bounding kind, and for clusters of other rows.
    """
    own = typing.own()
    bounding = [by_chance[kind] for kind in BOUNDING if kind in by_chance]
    n = len(own.primary)
    if not bounding:
        raise FsrlError(f"scheme {typing.name}: no fresh directions of {' or '.join(BOUNDING)} to count")
    if len(clusters) != n:
        raise FsrlError(f"scheme {typing.name}: clusters of {len(clusters)} features, but moments of {n}")
    spread = intervals(typing, clusters, seed=seed)
    rows = []
    for label, (primary, members) in _tally(typing, own).items():
        null_share, member_null_share = (
            max(one.as_layers[label][which] / one.draws for one in bounding) for which in (0, 1)
        )
        at_bounds = max(one.at_bounds[label][0] / one.draws for one in bounding)
        rows.append(
            {
                "scheme": typing.name,
                "type": label,
                "features": primary,
                "share": primary / n,
                "low": spread[label][0],
                "high": spread[label][1],
                "null_share": null_share,
                "expected": null_share * n,
                "expected_at_bounds": at_bounds * n,
                "members": members,
                "member_null_share": member_null_share,
            }
        )
    return pd.DataFrame(rows).astype({"scheme": "str", "type": "str"})


def type_null_counts(typing: Typing, by_chance: Chance) -> pd.DataFrame:
    """The table `type_null_counts` of one scheme: each type's count and what each kind of null would give.

    Arguments as for `type_counts`; one row per type and kind in their order.
    """
    own = typing.own()
    n = len(own.primary)
    rows = []
    for label, (primary, members) in _tally(typing, own).items():
        for kind, counted in by_chance.items():
            share, member_share = (count / counted.draws for count in counted.as_layers[label])
            rows.append(
                {
                    "scheme": typing.name,
                    "type": label,
                    "kind": kind,
                    "draws": counted.draws,
                    "features": primary,
                    "expected": share * n,
                    "expected_at_bounds": counted.at_bounds[label][0] / counted.draws * n,
                    "null_share": share,
                    "members": members,
                    "member_expected": member_share * n,
                    "member_null_share": member_share,
                }
            )
    return pd.DataFrame(rows).astype({"scheme": "str", "type": "str", "kind": "str"})


def chance(typing: Typing, fresh: pd.DataFrame) -> Chance:
    """What chance gives, of each kind in `fresh`, a table `null` of directions that set no bound.

    As many whole sets of a layer's size are counted as there are; where there are fewer directions than
    features, all of them are one smaller set.
    """
    n, found = len(typing.own().primary), {}
    for kind, part in fresh.groupby("kind", sort=False):
        sets = as_layers(len(part), n)
        part = part.iloc[: sets[-1].stop]
        labels, at_bounds = typing.in_sets(part, sets)
        tallies = [_tally(typing, one) for one in labels]
        total = {
            label: (sum(tally[label][0] for tally in tallies), sum(tally[label][1] for tally in tallies))
            for label in tallies[0]
        }
        found[str(kind)] = Counted(len(part), total, _tally(typing, at_bounds))
    return found


def as_layers(rows: int, n: int) -> list[slice]:
    """As many whole sets of n rows as there are; of fewer rows one set."""
    size = min(n, rows)
    return [slice(start, start + size) for start in range(0, rows - size + 1, size)]


def intervals(
    typing: Typing, clusters: Int64[np.ndarray, "features"], *, seed: int, draws: int = DRAWS
) -> dict[str, tuple[float, float]]:
    """Label -> 95 % interval of how many of the layer's features have it as primary label."""
    generator = np.random.default_rng(seed)
    labels = (*typing.order, UNCLASSIFIED, DEGENERATE)
    counts = np.empty((draws, len(labels)))
    order = np.argsort(clusters, kind="stable")
    sizes = np.bincount(np.unique(clusters, return_inverse=True)[1])
    starts = np.cumsum(sizes) - sizes
    primary = typing.own().primary
    again = _Again(typing) if isinstance(typing, TailTyping) else None
    # Labels that do not change with the draw are counted once, cluster by cluster.
    kept = np.stack([np.add.reduceat((primary == label)[order].astype(np.int64), starts) for label in labels])
    for draw in counts:
        drawn = generator.integers(len(sizes), size=len(sizes))
        if again is None:
            found = kept[:, drawn].sum(axis=1)
        else:
            rows = order[_ranges(starts[drawn], sizes[drawn])]
            one = again.labels(rows, generator)
            found = np.array([(one == label).sum() for label in labels])
        # Clusters differ in size, so the draw does too.
        draw[:] = found * len(primary) / sizes[drawn].sum()
    low, high = np.quantile(counts, INTERVAL, axis=0)
    return {label: (float(low[i]), float(high[i])) for i, label in enumerate(labels)}


def _ranges(
    starts: Int64[np.ndarray, "ranges"], sizes: Int64[np.ndarray, "ranges"]
) -> Int64[np.ndarray, "total"]:
    """start, start + 1, ... of each range in turn, as many as its size says."""
    before = np.cumsum(sizes) - sizes
    return np.repeat(starts - before, sizes) + np.arange(sizes.sum())


class _Again:
    """The features of a layer under nulls whose directions are drawn again."""

    def __init__(self, typing: TailTyping) -> None:
        self.scheme, self.shapes = typing.scheme, typing.read.shapes
        self.kinds, read = tails.bounding(typing.known), tails.values(typing.moments)
        # Where the features lie among the nulls' ranks is found once.
        self.placed = {
            kind: {tail: tails.of_kind(known, tail).place(x) for tail, x in read.items()}
            for kind, known in self.kinds.items()
        }

    def labels(
        self, rows: Int64[np.ndarray, "drawn"], generator: np.random.Generator
    ) -> Shaped[np.ndarray, "drawn"]:
        """Primary labels of these rows, taken for a layer, once `generator` has drawn the nulls again."""
        p: dict[str, Float64[np.ndarray, features]] = {}
        for kind, placed in self.placed.items():
            known = self.kinds[kind]
            # A tail and its mirror image are judged by the same draws.
            drawn = {tail: known[tail].resampled(generator) for tail in known}
            for tail, place in placed.items():
                null = tails.MIRRORED.get(tail, tail)
                one = known[null].log10_p_at(place, drawn[null])
                p[tail] = np.maximum(p[tail], one) if tail in p else one
        called = tails.significant({tail: one[rows] for tail, one in p.items()}, self.scheme.levels)
        return tail_labels(self.shapes.rows(rows), called, self.scheme).primary


def _tally(typing: Typing, labels: Labels) -> Tally:
    counts = {}
    for label in (*typing.order, UNCLASSIFIED, DEGENERATE):
        primary = int((labels.primary == label).sum())
        members = labels.members.get(label)
        counts[label] = (primary, primary if members is None else int(members.sum()))
    return counts
