"""Figures of planted truth: how much of what was put in each scheme finds, and how much of it is right.

The tables are `recovery` and `recovery_by_set` of `fsrl.claims.recovery`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from fsrl.figures.style import DOUBLE, SMALL, TYPE_COLORS, fix_ticks, new_figure, styled
from fsrl.names import TYPES, type_label
from fsrl.types.select import of_scheme

MARKERS = dict(zip(TYPES, "Dvos^", strict=True))
MEASURES = {"recall": "recall (found / planted)", "precision": "precision (planted / found)"}
EVEN = (0, (3, 1.5))  # line style
# Dark where all is found; one hue, so that lightness alone carries the value.
RECALL_COLORS = ListedColormap(
    [tuple(1 - x * (1 - np.array([0.03, 0.19, 0.42]))) for x in np.linspace(0, 1, 101)]
)


@styled()
def recovery(table: pd.DataFrame, *, scheme: str, title: str) -> Figure:
    """Recall and precision of each type against the strength of the plant, one column per planted share.

    Solid: all that was planted, with 95 % intervals; dashed: partitions of a quarter of the vocabulary or
    more. Where nothing was planted or labelled there is no point.

    table: recovery, of one or more schemes; scheme: the scheme that is shown; title: study and world.
    """
    rows = of_scheme(table, scheme, "recovery")
    shares = sorted(rows["planted_share"].unique())
    strengths = sorted(rows["strength"].unique())
    note = (
        "planted features found, by strength of the plant and by the share of features planted with each type"
    )
    figure = new_figure(DOUBLE, 3.3, f"{title} · scheme {scheme}\n{note}")
    grid = figure.subplots(len(MEASURES), len(shares), sharex=True, sharey=True, squeeze=False)
    for i, (measure, label) in enumerate(MEASURES.items()):
        for j, share in enumerate(shares):
            ax, part = grid[i, j], rows[rows["planted_share"] == share]
            _draw_curves(ax, part, measure)
            _strength_axis(ax, strengths)
            ax.set_ylim(-0.04, 1.04)
            if i == 0:
                planted = part.loc[part["population"] == "all", "planted"].max()
                ax.set_title(f"{100 * share:g} % planted ({planted:,} of each type)")
            else:
                ax.set_xlabel("strength (standard deviations)")
            if j == 0:
                ax.set_ylabel(label)
                ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
    figure.legend(handles=_handles(rows), loc="outside lower center", ncols=5)
    return figure


def _handles(rows: pd.DataFrame) -> list[Line2D]:
    names = [name for name in TYPES if rows.loc[rows["type"] == name, "planted"].any()]
    handles = [Line2D([], [], **_line(name), label=type_label(name)) for name in names]
    if "partition" in names:
        label = "partition, at least a quarter"
        handles.append(Line2D([], [], **_line("partition", EVEN), label=label))
    return handles


def _line(name: str, style: Any = "-") -> dict[str, Any]:
    marker = {"marker": MARKERS[name], "markersize": 3.0}
    return {"color": TYPE_COLORS[name], "linestyle": style, **marker}


def _draw_curves(ax: Axes, rows: pd.DataFrame, measure: str) -> None:
    shown: list[tuple[str, str, Any]] = [(name, "all", "-") for name in TYPES]
    for name, population, style in [*shown, ("partition", "even", EVEN)]:
        part = rows[(rows["type"] == name) & (rows["population"] == population)].sort_values("strength")
        # A precision of a handful of false labels where nothing of the kind was planted says nothing.
        part = part[part["planted"] > 0]
        if part.empty:
            continue
        ax.plot(part["strength"], part[measure], **_line(name, style), clip_on=False, zorder=3)
        if population == "all":
            ends = part[f"{measure}_low"], part[f"{measure}_high"]
            ax.fill_between(part["strength"], *ends, color=TYPE_COLORS[name], alpha=0.15, linewidth=0)


def _strength_axis(ax: Axes, strengths: Sequence[float]) -> None:
    ax.set_xscale("log")
    ax.set_xlim(strengths[0] / 1.15, strengths[-1] * 1.15)
    fix_ticks(ax.xaxis, strengths, "{:g}".format)


@styled()
def recovery_by_set(table: pd.DataFrame, *, scheme: str, title: str) -> Figure:
    """Recall by size of the planted set and strength, a panel per type; clear cells have a frame.

    table: recovery_by_set, of one or more schemes, of which the largest planted share is shown, with the most
    plants of each kind; scheme: the scheme that is shown; title: study and world.
    """
    rows = of_scheme(table, scheme, "recovery_by_set")
    rows = rows[rows["planted_share"] == rows["planted_share"].max()]
    names = [name for name in TYPES if name in set(rows["type"])]
    note = "planted features found, in %; framed: perfect plants of this kind would be found"
    figure = new_figure(DOUBLE, 2.6, f"{title} · scheme {scheme}\n{note}")
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        part = rows[rows["type"] == name]
        recall = part.pivot(index="tokens", columns="strength", values="recall")
        clear = part.pivot(index="tokens", columns="strength", values="clear")
        ax.imshow(recall, cmap=RECALL_COLORS, vmin=0, vmax=1, aspect="auto", origin="lower")
        _write_cells(ax, recall.to_numpy(dtype=float), clear.to_numpy(dtype=bool))
        shares = part.groupby("tokens")["share"].first()
        large = shares.max() > 0.1
        sizes = [f"{100 * share:.0f} %" if large else f"{size:,}" for size, share in shares.items()]
        ax.set_yticks(range(len(sizes)), sizes)
        ax.set_xticks(range(recall.shape[1]), [f"{strength:g}" for strength in recall.columns])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title(type_label(name), color=TYPE_COLORS[name])
        ax.set_xlabel("strength")
        ax.set_ylabel("share of the vocabulary" if large else "tokens in the set")
    return figure


def _write_cells(
    ax: Axes, recall: Float[np.ndarray, "sizes strengths"], clear: Bool[np.ndarray, "sizes strengths"]
) -> None:
    for (y, x), value in np.ndenumerate(recall):
        ink = "white" if value > 0.5 else "black"
        ax.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=SMALL, color=ink)
        if clear[y, x]:
            frame: dict[str, Any] = {"fill": False, "edgecolor": "#E69F00", "linewidth": 1.1}
            ax.add_patch(Rectangle((x - 0.44, y - 0.44), 0.88, 0.88, **frame))
