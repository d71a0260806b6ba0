"""Figures of one study: all layers side by side, each with the null beside it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fsrl.figures import plane as plot_plane
from fsrl.figures.style import (
    DOUBLE,
    NULL_BOUNDS,
    SMALL,
    TYPE_COLORS,
    by_kind,
    expected,
    fix_ticks,
    new_figure,
    null_quantiles,
    styled,
    text_width,
)
from fsrl.hooks import hook_label
from fsrl.names import BOUNDING, TYPES, type_label
from fsrl.types.select import scheme_counts, typed, values

MOMENTS = ("mean / norm", "std / norm", "skewness", "kurtosis")
LEVELS = (0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999)
SPANS = ("0.1 to 99.9 %", "5 to 95 %", "quartiles")  # between the outer levels, the next ones, the inner ones
FEATURE_SHADES = ("#9ECAE9", "#4292C6", "#08519C")  # one for each span
NULL_SHADES = ("#DDDDDD", "#BBBBBB", "#888888")
NONE_MARK: dict[str, Any] = {"marker": "o", "markersize": 3.0, "markerfacecolor": "white"}
INTERVAL: dict[str, Any] = {"color": "#666666", "linewidth": 0.7}
CHANCE: dict[str, Any] = {"color": "black", "linewidth": 1.2}
BAR_WIDTHS = (0.12, 0.22, 0.32)  # in units of the distance between layers


class LayerInputs(NamedTuple):
    """The tables of one SAE in one view."""

    hook: str
    """The SAE's id, e.g. "blocks.3.hook_resid_pre"; printed in its short form."""
    moments: pd.DataFrame
    null: pd.DataFrame
    types: pd.DataFrame
    type_counts: pd.DataFrame


@styled()
def layers_grid(layers: Sequence[LayerInputs], *, scheme: str, title: str) -> Figure:
    """The plane of skewness and kurtosis of every layer, coloured by type, on shared axes.

    Beside each type's colour a panel shows its count and, in brackets, how many of as many fresh null
    directions get it by the layer's bounds; of the bounding kinds the most.
    """
    columns = min(4, len(layers) + 1)
    rows = -(-len(layers) // columns)
    legend = 0.35 if rows * columns > len(layers) else 0.6  # inches below the panels
    figure = new_figure(
        DOUBLE, 0.5 + 1.75 * rows + legend, f"{title} · scheme {scheme}\ndead features included"
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    extent = [frame for layer in layers for frame in (layer.moments, plot_plane.central(layer.null))]
    for i, (ax, layer) in enumerate(zip(grid.flat, layers, strict=False)):
        plot_plane.set_scales(ax, extent, gaps=(0.16, 0.1), headroom=0.45)
        plot_plane.draw_types(ax, typed(layer.moments, layer.types, scheme))
        handles = plot_plane.draw_null(ax, layer.null, quantiles=False)
        ax.set_title(f"{hook_label(layer.hook)} · {len(layer.moments):,} features")
        _list_counts(ax, scheme_counts(layer.type_counts, scheme))
        if i % columns == 0:
            ax.set_ylabel("kurtosis (log scale)")
        if i + columns >= len(layers):
            ax.set_xlabel("skewness (asinh scale)")
            ax.tick_params(labelbottom=True)
    _explain(figure, list(grid.flat[len(layers) :]), handles)
    return figure


def _explain(figure: Figure, spare: Sequence[Axes], references: list[Line2D]) -> None:
    """The grid's legend: the types in a spare cell where there is one, all else below the panels."""
    for ax in spare:
        ax.set_axis_off()
    handles = [plot_plane.type_handle(name, type_label(name)) for name in (*TYPES, "unclassified")]
    heading = "in each panel:\ncount (by chance at most)"
    if spare:
        legend = spare[0].legend(handles=handles, loc="center left", title=heading)
        legend.set_in_layout(False)
        figure.legend(handles=references, loc="outside lower center", ncols=3)
    else:
        heading = heading.replace("\n", " ")
        figure.legend(handles=[*handles, *references], loc="outside lower center", ncols=3, title=heading)


def _list_counts(ax: Axes, counts: pd.DataFrame) -> None:
    handles = []
    for name in TYPES:
        if name in counts.index:
            row = counts.loc[name]
            label = f"{row['features']:,}" if row["features"] else "none"
            label += f" ({expected(row['expected_at_bounds'])})"
            handles.append(plot_plane.type_handle(name, label, empty=row["features"] == 0))
    tight = {"handlelength": 0.8, "borderpad": 0, "labelspacing": 0.2, "columnspacing": 0.6}
    legend = ax.legend(handles=handles, loc="upper left", ncols=2, fontsize=SMALL, **tight)
    legend.set_in_layout(False)


@styled()
def moments_by_layer(layers: Sequence[LayerInputs], *, title: str) -> Figure:
    """Quantiles of the four moments in every layer, the features' in blue and the null's beside them in grey.

    Of the nulls that bound the types the more extreme quantile is drawn (of medians the middle); one by one
    they are in `nulls_by_layer`. Mean and std are divided by the direction's norm.
    """
    figure = new_figure(DOUBLE, 4.4, f"{title}\ndead features included")
    places = np.arange(len(layers))
    for ax, column in zip(figure.subplots(2, 2, sharex=True).flat, MOMENTS, strict=True):
        for place, layer in zip(places, layers, strict=True):
            features = values(layer.moments, column)
            if len(features):
                draw_quantiles(ax, place - 0.19, features.quantile(list(LEVELS)).to_numpy(), FEATURE_SHADES)
            draw_quantiles(ax, place + 0.19, null_quantiles(layer.null, column, LEVELS), NULL_SHADES)
        scale_moment(ax, column)
        label_layers(ax, [layer.hook for layer in layers], DOUBLE / 2 - 0.6)
    median = Line2D([], [], color="black", linewidth=1.0, label="median")
    handles: list[Artist] = [*shade_handles("features", FEATURE_SHADES), median]
    handles += shade_handles("wider bounding null", NULL_SHADES)
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def shade_handles(name: str, shades: Sequence[str]) -> list[Patch]:
    """Legend entries of the three bars that `draw_quantiles` draws of `name`, from the widest."""
    return [Patch(color=color, label=f"{name}: {part}") for color, part in zip(shades, SPANS, strict=True)]


def draw_quantiles(ax: Axes, x: float, quantiles: Float[np.ndarray, "levels"], shades: Sequence[str]) -> None:
    """Bars from quantile to quantile in three shades and a line at the median.

    ax: a panel with the layers along x; x: the middle of the bars; quantiles: at LEVELS, in their order;
    shades: colours from the widest bar to the narrowest.
    """
    for i, (color, width) in enumerate(zip(shades, BAR_WIDTHS, strict=True)):
        low, high = quantiles[i], quantiles[-1 - i]
        ax.bar(x, high - low, width, bottom=low, color=color)
    ax.hlines(quantiles[3], x - 0.16, x + 0.16, color="black", linewidth=1.0)


def scale_moment(ax: Axes, column: str) -> None:
    """Label the axis; skewness and kurtosis on the plane's scales, since single features lie far out."""
    ax.set_ylabel(column)
    if column not in plot_plane.SCALES:
        ax.use_sticky_edges = False  # else the axis would end where the lowest bar does
        ax.autoscale_view()
        return
    low, high = plot_plane.SCALES[column].forward(ax.dataLim.intervaly)
    margin = 0.04 * (high - low)
    plot_plane.set_axis(ax.yaxis, column, low - margin, high + margin, 0.08)
    ax.set_ylabel(f"{column} ({ax.get_yscale()} scale)")


def label_layers(ax: Axes, hooks: Sequence[str], inches: float) -> None:
    """Name the layers below an axis of this length; upright where they would touch."""
    labels = [hook_label(hook) for hook in hooks]
    size = rcParams["xtick.labelsize"]
    crowded = any(text_width(label, size) + 3 > 72 * inches / len(labels) for label in labels)
    ax.set_xticks(range(len(labels)), labels, rotation=90 if crowded else 0)
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(-0.6, len(labels) - 0.4)


@styled()
def type_shares(layers: Sequence[LayerInputs], *, title: str) -> Figure:
    """Share of each type by layer with its 95 % interval, one panel per scheme; what chance gives as a dash.

    Chance: fresh null directions by the layer's own bounds, of the bounding kinds the largest share. The axis
    is linear up to 0.1 % and logarithmic above, so that rare types and the null's rate stay visible.
    """
    schemes = list(dict.fromkeys(scheme for layer in layers for scheme in layer.type_counts["scheme"]))
    note = "primary types, dead features included; axis linear up to 0.1 %, logarithmic above"
    figure = new_figure(DOUBLE, 0.75 + 1.5 * len(schemes), f"{title}\n{note}")
    panels = figure.subplots(len(schemes), 1, sharex=True, squeeze=False).flat
    for ax, scheme in zip(panels, schemes, strict=True):
        for place, layer in enumerate(layers):
            _draw_shares(ax, place, scheme_counts(layer.type_counts, scheme))
        ax.set_title(f"scheme {scheme}")
        ax.set_ylabel("share of features")
        ax.set_yscale("symlog", linthresh=1e-3, linscale=0.6)
        ax.set_ylim(-1e-4, 1)
        fix_ticks(ax.yaxis, [0, 1e-3, 1e-2, 0.1, 1], lambda share: f"{100 * share:g} %")
        ax.grid(axis="y", color="#E5E5E5", linewidth=0.5)
        label_layers(ax, [layer.hook for layer in layers], DOUBLE - 0.6)
    handles: list[Artist] = [Patch(color=TYPE_COLORS[name], label=type_label(name)) for name in TYPES]
    interval = "95 % interval, over clusters of near copies and draws of the nulls"
    handles.append(Line2D([], [], **INTERVAL, label=interval))
    handles.append(Line2D([], [], **CHANCE, label="fresh null directions by the layer's bounds"))
    handles.append(Line2D([], [], linestyle="", color="black", **NONE_MARK, label="none"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _draw_shares(ax: Axes, place: int, counts: pd.DataFrame) -> None:
    width, n = 0.16, counts["features"].sum()
    for i, name in enumerate(TYPES):
        if name not in counts.index:
            continue
        x = place + (i - (len(TYPES) - 1) / 2) * width
        share = float(counts.loc[name, "share"])
        low, high, chance = counts.loc[name, ["low", "high", "expected_at_bounds"]].astype(float) / n
        ax.bar(x, share, 0.9 * width, color=TYPE_COLORS[name], zorder=2)
        if high > low:
            ax.plot([x, x], [low, high], **INTERVAL, zorder=5)
        ends = x - 0.45 * width, x + 0.45 * width
        ax.hlines(chance, *ends, color="white", linewidth=2.2, zorder=3)
        ax.hlines(chance, *ends, **CHANCE, zorder=4)
        if share == 0:
            ax.plot([x], [0], linestyle="", color=TYPE_COLORS[name], clip_on=False, zorder=5, **NONE_MARK)


SHAPES = ("skewness", "kurtosis")
MARKERS = {"isotropic": "o", "second_moment": "s", "spectrum": "D", "sign_flip": "^"}
DASHES: dict[str, Any] = {"color": "black", "linewidth": 0.6, "linestyle": (0, (3, 1.5))}
FEATURES_AT, FIRST_KIND_AT, STEP = -0.3, -0.05, 0.14  # in units of the distance between layers


@styled()
def nulls_by_layer(layers: Sequence[LayerInputs], *, title: str) -> Figure:
    """Quantiles 0.001, 0.5 and 0.999 of skewness and kurtosis of each kind of null, beside the features'.

    The dashes across a layer are the more extreme of the outer quantiles of the nulls that bound the types.
    """
    figure = new_figure(DOUBLE, 5.0, f"{title}\ndead features included; null directions, by kind")
    for ax, column in zip(figure.subplots(2, 1, sharex=True).flat, SHAPES, strict=True):
        for place, layer in enumerate(layers):
            features = values(layer.moments, column)
            if len(features):
                quantiles = features.quantile(list(LEVELS)).to_numpy()
                draw_quantiles(ax, place + FEATURES_AT, quantiles, FEATURE_SHADES)
            _draw_kinds(ax, place, layer.null, column)
        scale_moment(ax, column)
        label_layers(ax, [layer.hook for layer in layers], DOUBLE - 0.6)
        for edge in np.arange(1, len(layers)) - 0.5:
            ax.axvline(edge, color="#E5E5E5", linewidth=0.5, zorder=0)
    handles = _handles({kind for layer in layers for kind in by_kind(layer.null)})
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _draw_kinds(ax: Axes, place: int, null: pd.DataFrame, column: str) -> None:
    """Each kind as a vertical line between its outer quantiles; dashes where the most extreme ones lie."""
    for i, (kind, rows) in enumerate(by_kind(null).items()):
        low, middle, high = values(rows, column).quantile([NULL_BOUNDS[0], 0.5, NULL_BOUNDS[1]])
        x = place + FIRST_KIND_AT + i * STEP
        ax.plot([x, x], [low, high], color="black", linewidth=0.7, zorder=3)
        ax.plot([x, x], [low, high], **_marker(kind), zorder=4)
        ax.plot([x], [middle], color="black", marker="_", markersize=3.5, linestyle="", zorder=4)
    for bound in null_quantiles(null, column, NULL_BOUNDS):
        ax.hlines(bound, place - 0.46, place + 0.46, **DASHES)


def _marker(kind: str) -> dict[str, Any]:
    face = {"markerfacecolor": "white", "markeredgecolor": "black", "markeredgewidth": 0.7}
    return {"linestyle": "", "marker": MARKERS[kind], "markersize": 3.2, **face}


def _handles(kinds: set[str]) -> list[Artist]:
    handles: list[Artist] = [*shade_handles("features", FEATURE_SHADES)]
    for kind in MARKERS:
        if kind in kinds:
            line = _marker(kind) | {"linestyle": "-", "color": "black", "linewidth": 0.7}
            handles.append(Line2D([], [], **line, label=f"null, {SPANS[0]}: {type_label(kind)}"))
    kinds_that_bound = ", ".join(map(type_label, BOUNDING))
    handles.append(Line2D([], [], **DASHES, label=f"wider of the bounding nulls ({kinds_that_bound})"))
    handles.append(Line2D([], [], color="black", marker="_", linestyle="", label="median"))
    return handles
