"""Figure of the thresholds: how members and their evidence move when one bound of one type is moved."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fsrl.figures.style import (
    DOUBLE,
    NULL_COLOR,
    SMALL,
    TYPE_COLORS,
    fix_ticks,
    new_figure,
    styled,
    text_width,
)
from fsrl.hooks import hook_label
from fsrl.names import TYPES, type_label
from fsrl.tables.sensitivity import BY_CHANCE, DRAWS
from fsrl.types.rules import SIGNS
from fsrl.types.select import of_scheme

MEASURES = {
    "members": "features that\nmeet the rule",
    "jaccard": "Jaccard overlap\nwith the rule",
    "significant_share": "share with a\nsignificant set",
}
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)
CHANCE: dict[str, Any] = {"color": NULL_COLOR, "linewidth": 0.9, "linestyle": (0, (3, 1.5))}


@styled()
def sensitivity(table: pd.DataFrame, *, scheme: str, title: str) -> Figure:
    """Members of each rule, their overlap with the config's and their evidence, as one bound is moved.

    A column per bound, a line per layer, dark for the first. Dashed: the members that chance gives, of the
    null and in the layer where it gives most. The config's own bound is at 1.

    table: sensitivity, of one or more schemes; scheme: the scheme whose bounds are shown; title: study and
    view. What fewer null draws give is in the table alone.
    """
    rows = of_scheme(table, scheme, "sensitivity")
    rows = rows[rows["column"] != DRAWS]
    bounds = rows[["type", "column", "word", "bound"]].drop_duplicates()
    bounds = bounds.sort_values("type", key=lambda names: names.map(TYPES.index), kind="stable")
    layers = list(dict.fromkeys(rows["sae"]))
    note = (
        "one bound moved at a time; factor on the share beyond a quantile, or a number; 1: as in the config"
    )
    figure = new_figure(DOUBLE, 5.2, f"{title} · scheme {scheme}\n{note}")
    grid = figure.subplots(len(MEASURES), len(bounds), sharex="col", sharey="row", squeeze=False)
    highest = rows[["members", *BY_CHANCE]].max().max()
    for j, bound in enumerate(bounds.itertuples(index=False)):
        keys = (
            (rows["type"] == bound.type) & (rows["column"] == bound.column) & (rows["bound"] == bound.bound)
        )
        part = rows[keys & (rows["word"] == bound.word)].sort_values("factor")
        for i, measure in enumerate(MEASURES):
            _draw_lines(grid[i, j], part, measure, layers)
        _name_bound(grid[0, j], bound, 72 * (DOUBLE - 0.7) / len(bounds))
        _factor_axis(grid[-1, j], part["factor"])
    for ax, (measure, label) in zip(grid[:, 0], MEASURES.items(), strict=True):
        ax.set_ylabel(label)
        _scale_measure(ax, measure, highest)
    handles = [
        Line2D([], [], color=_shade(i, len(layers)), label=hook_label(n)) for i, n in enumerate(layers)
    ]
    handles.append(Line2D([], [], **CHANCE, label="by chance, at most"))
    figure.legend(handles=handles, loc="outside lower center", ncols=_columns(handles))
    return figure


def _columns(handles: Sequence[Line2D]) -> int:
    """As many of the legend's entries as fit in a row."""
    widest = max(text_width(str(handle.get_label()), SMALL) for handle in handles)
    return min(len(handles), int(72 * DOUBLE // (widest + 3.5 * SMALL)))


def _shade(number: int, layers: int) -> str:
    """The layers' colours from dark to light, in steps of lightness that every eye sees."""
    return to_hex(colormaps["viridis"](0.9 * number / max(layers - 1, 1)))


def _draw_lines(ax: Axes, part: pd.DataFrame, measure: str, layers: Sequence[str]) -> None:
    for number, sae in enumerate(layers):
        line = part[part["sae"] == sae]
        style: dict[str, Any] = {"linewidth": 0.9, "marker": "o", "markersize": 1.8, "clip_on": False}
        ax.plot(line["factor"], line[measure], color=_shade(number, len(layers)), **style)
    if measure == "members":
        expected = part.groupby("factor")[BY_CHANCE].max().max(axis=1)
        ax.plot(expected.index, expected, **CHANCE, zorder=4)
    elif part[measure].isna().all():
        ax.text(0.5, 0.5, "no\nmembers", ha="center", va="center", transform=ax.transAxes)
    ax.axvline(1, color="#CCCCCC", linewidth=0.7, zorder=0)


def _name_bound(ax: Axes, bound: Any, points: float) -> None:
    """The panel's title: the type in its colour, and the bound that is moved, in small print below."""
    column = bound.column.replace("_", " ")
    # Where panels are narrow the last word has a line; titles end at the panel.
    gap = "\n" if points < 60 else " "
    label = type_label(bound.type)
    if points < 60:
        label = label.replace("pression", "- pression").replace("-sided", "- sided")
    name, column = (gap.join(words.rsplit(" ", 1)) for words in (label, column))
    text = f"{name}\n{column} {SIGNS[bound.word]}\n{bound.bound}"
    ax.set_title(text, fontsize=SMALL, color=TYPE_COLORS[bound.type])


def _factor_axis(ax: Axes, factors: pd.Series) -> None:
    low, high = factors.min(), factors.max()
    ax.set_xscale("log")
    ax.set_xlim(low / 1.15, high * 1.15)
    wide = high / low > 30
    ticks = [tick for tick in TICKS if low <= tick <= high and (not wide or tick in (0.1, 1, 10))]
    fix_ticks(ax.xaxis, ticks, "{:g}".format)
    ax.set_xlabel("factor")


def _scale_measure(ax: Axes, measure: str, highest: float) -> None:
    if measure != "members":
        ax.set_ylim(-0.03, 1.03)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[2.5, 5, 10]))
        return
    ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    ax.set_ylim(-0.05, max(1.3 * highest, 2))
    decades = 10.0 ** np.arange(0, np.ceil(np.log10(max(highest, 1))) + 1)
    fix_ticks(ax.yaxis, [0, *decades], "{:,.0f}".format)
