"""Figure of what the types miss: features that significantly promote or suppress a set, typed and untyped."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fsrl.enrichment.coverage_sums import ANY, by_label
from fsrl.figures.style import DOUBLE, SMALL, TYPE_COLORS, new_figure, percent, styled
from fsrl.names import type_label

UNTYPED_COLOR = TYPE_COLORS["unclassified"]
LONGEST = 40  # sets that are drawn
ROW = 0.13  # inches


@styled()
def set_coverage(table: pd.DataFrame, *, scheme: str, title: str) -> Figure:
    """For each set the features that significantly promote or suppress it, by label, the most first.

    Coloured: features with a type; grey: without. At the end of a bar stands the share that has a type. Sets
    of no feature are left out, and those beyond the first 40.

    table: `set_coverage` of a study and view; scheme: the scheme of its labels; title: study and view.
    """
    found = by_label(table)
    whole, found = found.loc[ANY], found.drop(index=ANY)
    found = found[found["significant"] > 0]
    shown = found.iloc[:LONGEST]
    note = f"{int(whole['significant']):,} features significantly promote or suppress a set; "
    note += f"{int(whole['typed']):,} have a type"
    if len(found) > len(shown):
        note += f"; {len(shown)} of {len(found)} sets are shown"
    figure = new_figure(DOUBLE, 1.2 + ROW * max(len(shown), 4), f"{title} · scheme {scheme}\n{note}")
    ax = figure.add_subplot()
    place, left = np.arange(len(shown)), np.zeros(len(shown))
    for label in [*(name for name in TYPE_COLORS if name in shown), "untyped"]:
        width = shown[label].to_numpy(dtype=float)
        if width.any():
            color, name = TYPE_COLORS.get(label, UNTYPED_COLOR), type_label(label)
            ax.barh(place, width, left=left, height=0.75, color=color, linewidth=0, label=name)
            left += width
    for y, (end, share) in enumerate(zip(left, shown["share"], strict=True)):
        text = percent(float(share))
        ax.annotate(text, (end, y), (2, 0), textcoords="offset points", va="center", fontsize=SMALL)
    ax.set_yticks(place, [str(name).replace("_", " ") for name in shown.index])
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlim(0, 1.12 * max(left.max(initial=0), 1))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("features of all layers; at the end of a bar the share with a type")
    if len(shown):
        figure.legend(loc="outside lower center", ncols=6)
    return figure
