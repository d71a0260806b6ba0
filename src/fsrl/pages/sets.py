"""Which token sets a page lists of a feature: the significant ones of each side, or else its best."""

from collections.abc import Callable, Mapping, Sequence
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


def listed_sets(
    sets: Sequence[str],
    statistics: Mapping[str, np.ndarray],
    best_sets: pd.DataFrame,
    scores: pd.DataFrame | None = None,
) -> Callable[[int], list[SetRow]]:
    """Feature -> the sets that its page lists, promoted first, each side by p.

    sets: the columns of the statistics z, t and log10_p [features, n_sets]; best_sets: the table, a row a
    feature in order; scores: the table of that name. Which sets are significant follows from their number,
    since q rises with p; q itself is known where the statistics have a log10_q, else of a side's best set
    alone (NaN elsewhere).
    """
    z, t, log10_p = (statistics[name] for name in ("z", "t", "log10_p"))
    every_q = statistics.get("log10_q")
    counts = {side: best_sets[f"n_{side}"].to_numpy() for side in SIDES}
    names = {side: best_sets[side].to_numpy(dtype=object) for side in SIDES}
    qs = {side: best_sets[f"{side}_log10_q"].to_numpy() for side in SIDES}
    scored = _by_set(scores)

    def q_of(feature: int, i: int, side: str) -> float:
        if every_q is not None:
            return float(every_q[feature, i])
        return float(qs[side][feature]) if sets[i] == names[side][feature] else float("nan")

    def of_feature(feature: int) -> list[SetRow]:
        found = []
        order = np.argsort(log10_p[feature], kind="stable")  # NaN comes last
        order = order[~np.isnan(log10_p[feature, order])]
        for side, sign in SIDES.items():
            n = int(counts[side][feature])
            mine = order[sign * t[feature, order] > 0][: how_many(n)]
            for rank, i in enumerate(mine.tolist()):
                of_set = {"z": z[feature, i], "t": t[feature, i], "log10_p": log10_p[feature, i]}
                auc, es = scored.get((feature, sets[i]), (None, None))
                found.append(
                    SetRow(
                        sets[i],
                        side,
                        **{name: float(value) for name, value in of_set.items()},
                        log10_q=q_of(feature, i, side),
                        significant=rank < n,
                        auc=auc,
                        es=es,
                    )
                )
        return found

    return of_feature


def _by_set(scores: pd.DataFrame | None) -> dict[tuple[int, str], tuple[float, float]]:
    if scores is None:
        return {}
    rows = scores[["feature", "set", "auc", "es"]].itertuples(index=False)
    return {(feature, name): (auc, es) for feature, name, auc, es in rows}
