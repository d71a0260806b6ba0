"""Which token sets a page lists of a feature: the significant ones of each side, or else its best."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

SIDES = {"promoted": 1, "suppressed": -1}  # the sign of t
SETS_PER_SIDE = 10


def how_many(significant: int) -> int:
    """How many sets of a side are listed, the best first."""
    return min(max(significant, 1), SETS_PER_SIDE)


def listed_sets(
    sets: Sequence[str], statistics: Mapping[str, np.ndarray], best_sets: pd.DataFrame
) -> Callable[[int], list[tuple[Any, ...]]]:
    """Feature -> (set, side, z, t, log10_p, log10_q, significant) of each set that its page lists.

    sets: the columns of the statistics z, t and log10_p [features, n_sets]; best_sets: the table, a row a
    feature in order. Which sets are significant follows from their number, since q rises with p; q itself is
    known of a side's best set alone (NaN elsewhere).
    """
    z, t, log10_p = (statistics[name] for name in ("z", "t", "log10_p"))
    counts = {side: best_sets[f"n_{side}"].to_numpy() for side in SIDES}
    names = {side: best_sets[side].to_numpy(dtype=object) for side in SIDES}
    qs = {side: best_sets[f"{side}_log10_q"].to_numpy() for side in SIDES}

    def of_feature(feature: int) -> list[tuple[Any, ...]]:
        found = []
        order = np.argsort(log10_p[feature], kind="stable")  # NaN comes last
        order = order[~np.isnan(log10_p[feature, order])]
        for side, sign in SIDES.items():
            n = int(counts[side][feature])
            mine = order[sign * t[feature, order] > 0][: how_many(n)]
            for rank, i in enumerate(mine.tolist()):
                values = [float(one[feature, i]) for one in (z, t, log10_p)]
                q = float(qs[side][feature]) if sets[i] == names[side][feature] else float("nan")
                found.append((sets[i], side, *values, q, rank < n))
        return found

    return of_feature
