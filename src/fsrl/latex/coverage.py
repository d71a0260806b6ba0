"""LaTeX table of what the types miss: features that significantly promote or suppress a set, by label."""

import pandas as pd

from fsrl.enrichment.coverage_sums import ANY, by_label
from fsrl.latex import text as tex
from fsrl.latex.table import Column, count_column, tabular
from fsrl.names import TYPES, type_label

ROWS = 20


def set_coverage(frame: pd.DataFrame) -> str:
    """The sets of most features over all layers, with their features of each type and of none, and the share
    that has a type; in the last row the features with any set.

    frame: table `set_coverage` of a study and view.
    """
    found = by_label(frame)
    sets = found.drop(index=ANY)
    rows = pd.concat([sets[sets["significant"] > 0].iloc[:ROWS], found.loc[[ANY]]])
    types = [name for name in TYPES if name in rows]
    names = [rf"\texttt{{{tex.escape(str(name))}}}" for name in rows.index[:-1]]
    shares = [tex.number(100 * x, digits=0, bare=True) for x in rows["share"]]
    columns = [
        Column("Set", [*names, "any set"]),
        count_column("$n$", rows["significant"]),
        *(count_column(type_label(name), rows[name]) for name in types),
        count_column("none", rows["untyped"]),
        Column(r"\% typed", shares, "S"),
    ]
    return tabular(
        columns, groups=[("", 2), ("type", len(types) + 1), ("", 1)], rules=[len(names)], size="scriptsize"
    )
