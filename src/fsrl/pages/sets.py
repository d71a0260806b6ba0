"""Which token sets a page lists of a feature: the significant ones of each side, or else its best."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

SIDES = {"promoted": 1, "suppressed": -1}  # the sign of t
SETS_PER_SIDE = 10


class SetRow(NamedTuple):
    """A set that a page lists; NaN and None: not known. side: one of SIDES; auc, es: where it was scored."""

    set: str
    side: str
    z: float
    t: float
    log10_p: float
    log10_q: float
    significant: bool
    auc: float | None = None
    es: float | None = None


def how_many(significant: int) -> int:
    """How many sets of a side are listed, the best first."""
    return min(max(significant, 1), SETS_PER_SIDE)


class ListedSets:
    """Feature -> the sets that its page lists, promoted first, each side by p.

    sets: the columns of the statistics z, t and log10_p [features, n_sets]; best_sets: the table, a row a
    feature in order; scores: the table of that name. Which sets are significant follows from their number,
    since q rises with p; q itself is known where the statistics have a log10_q, else of a side's best set
    alone (NaN elsewhere).
    """

    def __init__(
        self,
        sets: Sequence[str],
        statistics: Mapping[str, np.ndarray],
        best_sets: pd.DataFrame,
        scores: pd.DataFrame | None = None,
    ) -> None:
        self.sets, self.statistics = sets, statistics
        # Of each side the number of significant sets, the best one's name and its q.
        names = ("n_{}", "{}", "{}_log10_q")
        self.best = {
            side: [best_sets[name.format(side)].to_numpy(dtype=object) for name in names] for side in SIDES
        }
        self.scored = _by_set(scores)

    def __call__(self, feature: int) -> list[SetRow]:
        """The sets of one feature."""
        t, log10_p = (self.statistics[name][feature] for name in ("t", "log10_p"))
        order = np.argsort(log10_p, kind="stable")  # NaN comes last
        order = order[~np.isnan(log10_p[order])]
        found = []
        for side, sign in SIDES.items():
            n = int(self.best[side][0][feature])
            mine = order[sign * t[order] > 0][: how_many(n)].tolist()
            found += [self._row(feature, side, i, significant=rank < n) for rank, i in enumerate(mine)]
        return found

    def _row(self, feature: int, side: str, i: int, *, significant: bool) -> SetRow:
        auc, es = self.scored.get((feature, self.sets[i]), (None, None))
        return SetRow(
            set=self.sets[i],
            side=side,
            z=float(self.statistics["z"][feature, i]),
            t=float(self.statistics["t"][feature, i]),
            log10_p=float(self.statistics["log10_p"][feature, i]),
            log10_q=self._q(feature, side, i),
            significant=significant,
            auc=auc,
            es=es,
        )

    def _q(self, feature: int, side: str, i: int) -> float:
        if "log10_q" in self.statistics:
            return float(self.statistics["log10_q"][feature, i])
        _, names, q = self.best[side]
        return float(q[feature]) if self.sets[i] == names[feature] else float("nan")


def _by_set(scores: pd.DataFrame | None) -> dict[tuple[int, str], tuple[float, float]]:
    if scores is None:
        return {}
    rows = scores[["feature", "set", "auc", "es"]].itertuples(index=False)
    return {(feature, name): (auc, es) for feature, name, auc, es in rows}
