"""The table `set_coverage` summed over layers, for figures, tables and numbers; loads no torch."""

import pandas as pd

from fsrl.names import DEGENERATE, LABELS, UNCLASSIFIED

UNTYPED = (UNCLASSIFIED, DEGENERATE)
# No set has this name: sets are named by lower-case words.
ANY = "(any set)"


def by_label(coverage: pd.DataFrame) -> pd.DataFrame:
    """Sums over layers, a row a set, the one of most features first; `ANY` stands for any of them.

    Columns: one for each type, `untyped`, `typed`, `significant` (typed and untyped) and `share` (typed of
    significant; NaN where there is none). coverage: the table `set_coverage` of a study and view.
    """
    named = coverage.assign(set=coverage["set"].fillna(ANY))
    found = named.pivot_table(index="set", columns="type", values="features", aggfunc="sum", fill_value=0)
    missed = [name for name in UNTYPED if name in found]
    types = [name for name in LABELS if name in found and name not in UNTYPED]
    found["untyped"] = found[missed].sum(axis=1)
    found["typed"] = found[types].sum(axis=1)
    found["significant"] = found["typed"] + found["untyped"]
    found["share"] = found["typed"] / found["significant"].where(found["significant"] > 0)
    order = found.sort_values(["significant", "typed"], ascending=False, kind="stable")
    return order[[*types, "untyped", "typed", "significant", "share"]].rename_axis(columns=None)
