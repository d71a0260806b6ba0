"""Figures of measured effects: agreement with the logit weights by layer, moments, what becomes of each type.

Tables in (`fsrl.effects.frames`, `fsrl.effects.summary`), a Matplotlib Figure out; nothing is read or saved.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsrl.effects.summary import ALL
from fsrl.figures import plane as plot_plane
from fsrl.figures.style import DOUBLE, NULL_COLOR, SMALL, TYPE_COLORS, new_figure, styled
from fsrl.hooks import hook_label
from fsrl.names import type_label

COLORS = {**TYPE_COLORS, ALL: "#000000"}
ORDER = [name for name in COLORS if name != "degenerate"]
READINGS = {
    "pearson": "correlation of measured\nchange and logit weights",
    "difference": "less that of a random\ndirection at the same place",
    "kept": "share of positions where\nthe type is kept",
}
MOMENT_PANELS = 3  # layers shown: the first, the middle one, the last


@styled()
def agreement(summary: pd.DataFrame, *, title: str) -> Figure:
    """Agreement, its difference to random directions and the share of kept types, by layer and type.

    One column of panels a state (active, inactive), step +1, bars: 95 % bootstrap intervals over features.
    Correlations of random directions and with another feature's weights (all types) are dashed and dotted.
    """
    rows = summary[summary["step"] == "+1"]
    states, saes = sorted(rows["state"].unique()), list(dict.fromkeys(rows["sae"]))
    figure = new_figure(
        DOUBLE,
        0.9 + 1.6 * len(READINGS),
        f"{title}\none unit of activation added; 95 % intervals over features",
    )
    grid = figure.subplots(len(READINGS), len(states), sharex=True, sharey="row", squeeze=False)
    for k, (name, label) in enumerate(READINGS.items()):
        grid[k, 0].set_ylabel(label)
        for ax, state in zip(grid[k], states, strict=True):
            part = rows[rows["state"] == state]
            _draw_types(ax, part, name, saes)
            if name == "pearson":
                _draw_controls(ax, part, saes)
                ax.set_title(f"feature {state} at the position")
            else:
                ax.axhline(0, color=NULL_COLOR, linewidth=0.5)
            ax.set_xticks(range(len(saes)), [hook_label(sae) for sae in saes], rotation=90)
    present = [name for name in ORDER if name in set(rows["type"])]
    handles = [
        Line2D([], [], color=COLORS[name], marker="o", markersize=3, label=_label(name)) for name in present
    ]
    handles.append(Line2D([], [], color="black", linestyle="--", linewidth=0.8, label="random directions"))
    handles.append(Line2D([], [], color="black", linestyle=":", linewidth=0.8, label="wrong weights"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _label(name: str) -> str:
    return "all (by number)" if name == ALL else type_label(name)


def _draw_types(ax: Axes, part: pd.DataFrame, name: str, saes: Sequence[str]) -> None:
    for i, kind in enumerate(ORDER):
        mine = part[part["type"] == kind]
        places = np.array([saes.index(sae) for sae in mine["sae"]], dtype=float) + 0.11 * (
            i - (len(ORDER) - 1) / 2
        )
        value = mine[name].to_numpy()
        spread = np.array([value - mine[f"{name}_low"], mine[f"{name}_high"] - value]).clip(min=0)
        line = "-" if kind == ALL else ""
        style: dict[str, Any] = {
            "color": COLORS[kind],
            "markersize": 2.4,
            "linewidth": 0.8,
            "elinewidth": 0.7,
        }
        ax.errorbar(places, value, yerr=spread, fmt="o", linestyle=line, **style)


def _draw_controls(ax: Axes, part: pd.DataFrame, saes: Sequence[str]) -> None:
    every = part[part["type"] == ALL].set_index("sae").reindex(saes)
    for name, line in (("random", "--"), ("other", ":")):
        ax.plot(range(len(saes)), every[name], color="black", linestyle=line, linewidth=0.8, zorder=1)


@styled()
def moments(effects: Mapping[str, pd.DataFrame], *, title: str) -> Figure:
    """Skewness and kurtosis of the measured change (mean over positions) against those of the weights.

    Step +1; where the first, middle and last layer have active positions these are shown, else all. Random
    directions are crosses; on the line nothing changes.
    """
    saes = list(effects)
    chosen = [saes[i] for i in dict.fromkeys((0, len(saes) // 2, len(saes) - 1))][:MOMENT_PANELS]
    figure = new_figure(DOUBLE, 4.6, f"{title}\none unit of activation added")
    grid = figure.subplots(2, len(chosen), squeeze=False)
    for column, sae in enumerate(chosen):
        frame = effects[sae]
        frame = frame[(frame["step"] == "+1") & (frame["state"] != "inactive")]
        for ax, name in zip(grid[:, column], ("skewness", "kurtosis"), strict=True):
            _draw_moment(ax, frame, name)
            ax.set_xlabel(f"{name} of the logit weights")
        grid[0, column].set_title(hook_label(sae))
    for ax, name in zip(grid[:, 0], ("skewness", "kurtosis"), strict=True):
        ax.set_ylabel(f"{name}, measured")
    types = [name for name in ORDER if name != ALL]
    handles = [plot_plane.type_handle(name, type_label(name)) for name in types]
    cross: dict[str, Any] = {"linestyle": "", "marker": "x", "markersize": 3, "markeredgewidth": 0.6}
    handles.append(Line2D([], [], color=NULL_COLOR, label="random directions", **cross))
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
    return figure


def _draw_moment(ax: Axes, frame: pd.DataFrame, name: str) -> None:
    x, y = f"direct_{name}", name
    random = frame[frame["direction"] == "random"]
    ax.scatter(random[x], random[y], s=6, marker="x", color=NULL_COLOR, linewidths=0.5)
    features = frame[frame["direction"] == "feature"]
    for kind, part in features.groupby("type"):
        ax.scatter(part[x], part[y], s=8, color=COLORS[str(kind)], linewidths=0)
    both = pd.concat([frame[x], frame[y]]).dropna()
    low, high = (both.min(), both.max()) if len(both) else (1.0, 2.0)
    _scale(ax, name, low, high)
    ax.plot([low, high], [low, high], color="black", linewidth=0.6, zorder=1)


def _scale(ax: Axes, name: str, low: float, high: float) -> None:
    """The same scale on both axes, as in the plane: asinh for skewness, logarithmic for kurtosis."""
    scale = plot_plane.SCALES[name].forward
    margin = 0.05 * (scale(high) - scale(low)) or 0.1
    for axis in (ax.xaxis, ax.yaxis):
        plot_plane.set_axis(axis, name, scale(low) - margin, scale(high) + margin, 0.12)


@styled()
def retention(retention: pd.DataFrame, *, title: str) -> Figure:
    """For each layer and type by the weights (rows), the share of positions of each measured type (columns).

    Active positions. Behind a row's type stands the number of features.
    """
    rows = retention[retention["state"] == "active"]
    saes = list(dict.fromkeys(rows["sae"]))
    columns = min(4, len(saes))
    lines = -(-len(saes) // columns)
    note = "rows: type by the logit weights (features measured); columns: measured type, % of positions"
    figure = new_figure(DOUBLE, 1.0 + 1.9 * lines, f"{title}\n{note}")
    grid = figure.subplots(lines, columns, squeeze=False)
    kinds = [name for name in ORDER if name != ALL]
    for ax in grid.flat[len(saes) :]:
        ax.set_axis_off()
    for ax, sae in zip(grid.flat, saes, strict=False):
        _draw_matrix(ax, rows[rows["sae"] == sae], kinds)
        ax.set_title(hook_label(sae))
    return figure


def _draw_matrix(ax: Axes, part: pd.DataFrame, kinds: list[str]) -> None:
    matrix = part.pivot_table(index="direct_type", columns="measured_type", values="share")
    matrix = matrix.reindex(index=kinds, columns=kinds)
    counts = part.groupby("direct_type")["features"].first().reindex(kinds)
    ax.imshow(matrix.to_numpy(dtype=float), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for i, row in enumerate(matrix.to_numpy(dtype=float)):
        for j, share in enumerate(row):
            if not np.isnan(share):
                color = "white" if share > 0.6 else "black"
                ax.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=SMALL, color=color)
    names = [f"{type_label(kind)} ({0 if np.isnan(counts[kind]) else int(counts[kind])})" for kind in kinds]
    ax.set_xticks(range(len(kinds)), [type_label(kind) for kind in kinds], rotation=90, fontsize=SMALL)
    ax.set_yticks(range(len(kinds)), names, fontsize=SMALL)
    ax.tick_params(length=0)
