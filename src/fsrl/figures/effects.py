"""Figures of measured effects: agreement by hook and by type, moments, what becomes of each type.

Tables in (`fsrl.effects.frames`, `fsrl.effects.summary`), a Matplotlib Figure out; nothing is read or saved.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsrl.effects.names import (
    CORRECTED,
    DIRECT,
    FEATURE,
    MATCHED,
    OWN_MEAN,
    PREDICTIONS,
    STATES,
    TRANSPORTED,
)
from fsrl.effects.summary import ALL
from fsrl.figures import plane as plot_plane
from fsrl.figures.style import DOUBLE, NULL_COLOR, SMALL, TYPE_COLORS, new_figure, styled
from fsrl.hooks import hook_label
from fsrl.names import TYPES, type_label

COLORS = {**TYPE_COLORS, ALL: "#000000"}
ORDER = [name for name in COLORS if name != "degenerate"]
READINGS = {
    "pearson": "correlation of measured\nchange and logit weights",
    "difference": "less that of a\nmatched control",
    "kept": "share of positions where\nthe type is kept",
}
# A prediction has one colour and marker in all figures.
PREDICTED: dict[str, tuple[str, str, str]] = {
    DIRECT: ("logit weights (direct)", "#000000", "o"),
    CORRECTED: ("with the final LayerNorm", "#E69F00", "s"),
    TRANSPORTED: ("transported (T)", "#0072B2", "D"),
    OWN_MEAN: ("own mean Jacobian", "#009E73", "^"),
}
BY_HOOK = {
    "pearson": "correlation of measured\nand predicted change",
    "over_direct": "less that of\nthe logit weights",
    "over_matched": "less that of a\nmatched control",
}
MOMENT_PANELS = 3  # layers shown: the first, the middle one, the last


@styled()
def agreement(by_hook: pd.DataFrame, *, title: str) -> Figure:
    """How each prediction agrees with the measured change, and how much more than the logit weights do and
    than it does of a matched control, by hook.

    by_hook: table `effects_by_hook`. One column of panels a state (active, inactive), step +1, bars: 95 %
    bootstrap intervals over features. Dashed: matched controls, by the furthest prediction that they have.
    """
    rows = by_hook[by_hook["step"] == "+1"]
    states = [state for state in STATES if (rows["state"] == state).any()]
    saes = list(dict.fromkeys(rows["sae"]))
    there = [name for name in PREDICTIONS if (rows["prediction"] == name).any()]
    furthest = TRANSPORTED if TRANSPORTED in there else DIRECT
    note = "one unit of activation added; types weighted by their numbers; 95 % intervals over features"
    if furthest == DIRECT:
        note += "\nno matrices of transport were measured in this study"
    figure = new_figure(DOUBLE, 0.8 + 1.5 * len(BY_HOOK), f"{title}\n{note}")
    grid = figure.subplots(len(BY_HOOK), len(states), sharex=True, sharey="row", squeeze=False)
    for k, (name, label) in enumerate(BY_HOOK.items()):
        grid[k, 0].set_ylabel(label)
        for ax, state in zip(grid[k], states, strict=True):
            part = rows[rows["state"] == state]
            features = part[part["direction"] == FEATURE]
            shown = there if name != "over_direct" else [kind for kind in there if kind != DIRECT]
            for i, kind in enumerate(shown):
                draw_prediction(
                    ax, features[features["prediction"] == kind], name, saes, kind, 0.08 * i - 0.12
                )
            if name == "pearson":
                control = part[(part["direction"] == MATCHED) & (part["prediction"] == furthest)]
                values = control.set_index("sae")["pearson"].reindex(saes)
                ax.plot(range(len(saes)), values, color=NULL_COLOR, linestyle="--", linewidth=0.8, zorder=1)
                ax.set_title(f"feature {state} at the position")
            else:
                ax.axhline(0, color=NULL_COLOR, linewidth=0.5)
            ax.set_xticks(range(len(saes)), [hook_label(sae) for sae in saes], rotation=90)
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=3, label=label)
        for label, color, marker in (PREDICTED[name] for name in there)
    ]
    control = f"matched control, {PREDICTED[furthest][0]}"
    handles.append(Line2D([], [], color=NULL_COLOR, linestyle="--", linewidth=0.8, label=control))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def draw_prediction(
    ax: Axes, rows: pd.DataFrame, name: str, saes: Sequence[str], kind: str, shift: float
) -> None:
    """One prediction's values with their intervals, in its colour, over the layers.

    rows: of one prediction, state, step and direction; name: the column; kind: the prediction; shift: how far
    its points stand beside the layers' places.
    """
    rows = rows[rows[name].notna()]
    places = np.array([saes.index(sae) for sae in rows["sae"]], dtype=float) + shift
    value = rows[name].to_numpy()
    spread = np.array([value - rows[f"{name}_low"], rows[f"{name}_high"] - value]).clip(min=0)
    _, color, marker = PREDICTED[kind]
    style: dict[str, Any] = {"color": color, "markersize": 2.4, "linewidth": 0.8, "elinewidth": 0.7}
    ax.errorbar(places, value, yerr=spread, fmt=marker, linestyle="-", **style)


@styled()
def agreement_by_type(summary: pd.DataFrame, *, title: str) -> Figure:
    """Agreement with the logit weights, its difference to matched controls and the share of kept types, by
    layer and type.

    One column of panels a state (active, inactive), step +1, bars: 95 % bootstrap intervals over features.
    Correlations of matched controls and with another feature's weights (all types) are dashed and dotted.
    """
    rows = summary[summary["step"] == "+1"]
    states, saes = sorted(rows["state"].unique()), list(dict.fromkeys(rows["sae"]))
    figure = new_figure(
        DOUBLE,
        0.9 + 1.42 * len(READINGS),
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
    handles.append(Line2D([], [], color="black", linestyle="--", linewidth=0.8, label="matched controls"))
    handles.append(
        Line2D([], [], color="black", linestyle=":", linewidth=0.8, label="another feature's weights")
    )
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
    for name, line in (("matched", "--"), ("other", ":")):
        ax.plot(range(len(saes)), every[name], color="black", linestyle=line, linewidth=0.8, zorder=1)


@styled()
def moments(effects: Mapping[str, pd.DataFrame], *, title: str) -> Figure:
    """Skewness and kurtosis of the measured change (mean over positions) against those of the weights.

    Step +1; where the first, middle and last layer have active positions these are shown, else all. Matched
    controls are crosses; on the line nothing changes.
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
    handles.append(Line2D([], [], color=NULL_COLOR, label="matched controls", **cross))
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
    return figure


def _draw_moment(ax: Axes, frame: pd.DataFrame, name: str) -> None:
    x, y = f"direct_{name}", name
    controls = frame[frame["direction"] == MATCHED]
    ax.scatter(controls[x], controls[y], s=6, marker="x", color=NULL_COLOR, linewidths=0.5)
    features = frame[frame["direction"] == FEATURE]
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

    Active positions, of features that have a type. Behind a row's type stands the number of features. Where
    none was measured the figure says so.
    """
    rows = retention[retention["state"] == "active"]
    saes = list(dict.fromkeys(rows["sae"]))
    if not saes:
        figure = new_figure(DOUBLE, 1.0, title)
        figure.text(0.5, 0.4, "no feature with a type was active where effects were measured", ha="center")
        return figure
    columns = min(4, len(saes))
    lines = -(-len(saes) // columns)
    note = "rows: type by the logit weights (features measured); columns: measured type, % of positions"
    figure = new_figure(DOUBLE, 1.0 + 1.9 * lines, f"{title}\n{note}")
    grid = figure.subplots(lines, columns, squeeze=False)
    kinds = [name for name in ORDER if name != ALL]
    typed = [name for name in kinds if name in TYPES]
    for ax in grid.flat[len(saes) :]:
        ax.set_axis_off()
    for ax, sae in zip(grid.flat, saes, strict=False):
        _draw_matrix(ax, rows[rows["sae"] == sae], typed, kinds)
        ax.set_title(hook_label(sae))
    return figure


def _draw_matrix(ax: Axes, part: pd.DataFrame, typed: list[str], kinds: list[str]) -> None:
    matrix = part.pivot_table(index="direct_type", columns="measured_type", values="share")
    matrix = matrix.reindex(index=typed, columns=kinds)
    counts = part.groupby("direct_type")["features"].first().reindex(typed)
    ax.imshow(matrix.to_numpy(dtype=float), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for i, row in enumerate(matrix.to_numpy(dtype=float)):
        for j, share in enumerate(row):
            if not np.isnan(share):
                color = "white" if share > 0.6 else "black"
                ax.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=SMALL, color=color)
    # In two lines, so that the cells are as wide as "100".
    names = [f"{type_label(kind)}\n({0 if np.isnan(counts[kind]) else int(counts[kind])})" for kind in typed]
    ax.set_xticks(range(len(kinds)), [type_label(kind) for kind in kinds], rotation=90, fontsize=SMALL)
    ax.set_yticks(range(len(typed)), names, fontsize=SMALL)
    ax.tick_params(length=0)
