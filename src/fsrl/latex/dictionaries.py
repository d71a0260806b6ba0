"""LaTeX table of several dictionaries of one model side by side: their types, beside what chance gives."""

from collections.abc import Mapping

import pandas as pd

from fsrl.hooks import hook_label
from fsrl.latex import text as tex
from fsrl.latex.table import Column, count_column, tabular
from fsrl.names import TYPES, type_label
from fsrl.types.dictionaries import ALL_LAYERS, TYPED


def dictionaries(frame: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """For each dictionary of a model and each layer the features of each type, beside what chance gives.

    frame: as `fsrl.types.dictionaries` gives it; titles: study -> the heading of its rows.
    """
    names = [name for name in (*TYPES, TYPED) if (frame["type"] == name).any()]
    layers = frame.drop_duplicates(["study", "sae"]).reset_index(drop=True)
    said = ["all layers" if sae == ALL_LAYERS else tex.escape(hook_label(sae)) for sae in layers["sae"]]
    columns = [Column("Hook", [rf"\quad {text}" for text in said]), count_column("$n$", layers["size"])]
    for name in names:
        of = layers[["study", "sae"]].merge(
            frame[frame["type"] == name], on=["study", "sae"], how="left", validate="1:1"
        )
        columns += [
            count_column("$n$", of["features"]),
            Column("null", [tex.number(value, digits=1, bare=True) for value in of["expected"]], "S"),
        ]
    columns.append(Column(r"\%", [tex.percent(share, digits=1, bare=True) for share in of["share"]], "S"))
    groups = [("", 2), *((type_label(name), 2) for name in names[:-1]), ("any type", 3)]
    headings = {
        int(row): rf"\emph{{{tex.escape(titles[study])}}}"
        for row, study in layers.drop_duplicates("study")["study"].items()
    }
    return tabular(columns, groups=groups, headings=headings, size="scriptsize")
