"""Figures of one layer: moments of the logit weights beside those of null directions.

Tables in (columns as in fsrl.tables), a Matplotlib Figure out; nothing is read or saved here. `title` says
study, hook and view, e.g. "mini · blocks.3.hook_resid_pre · view trained", and stands in every figure.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from fsrl.figures import plane as plot_plane
from fsrl.figures.style import (
    LOG10,
    NULL_BOUNDS,
    NULL_COLOR,
    NULL_LINES,
    SINGLE,
    SMALL,
    by_kind,
    new_figure,
    null_quantiles,
    percent,
    population,
    styled,
)
from fsrl.names import type_label
from fsrl.types.select import scheme_counts, typed, values

FEATURES = "#56B4E9"  # features before they have a type: none of the types' colours


@styled()
def skewness(moments: pd.DataFrame, null: pd.DataFrame, *, title: str) -> Figure:
    """Histogram of the features' skewness beside each kind of null's, and their 0.001 and 0.999 quantiles.

    The quantiles are those of the most extreme of the kinds that bound the types.
    """
    return _histogram(moments, null, "skewness", "skewness of the logit weights", title)


@styled()
def kurtosis(moments: pd.DataFrame, null: pd.DataFrame, *, title: str) -> Figure:
    """Histogram of log10 of the features' kurtosis (3 for a Gaussian), like `skewness`."""
    return _histogram(moments, null, "kurtosis", f"{LOG10} kurtosis (Gaussian: {np.log10(3):.2f})", title)


def _histogram(moments: pd.DataFrame, null: pd.DataFrame, column: str, label: str, title: str) -> Figure:
    scale = np.log10 if column == "kurtosis" else np.asarray
    features = values(moments, column).to_numpy()
    bounds = null_quantiles(null, column, NULL_BOUNDS)
    shown = scale(features)
    edges = bin_edges(shown, scale(bounds))
    figure = new_figure(SINGLE, 3.3, f"{title}\n{population(moments)}")
    ax = figure.add_subplot()
    density = np.histogram(shown, edges)[0] / max(len(shown), 1) / np.diff(edges)
    ax.stairs(density, edges, fill=True, color=FEATURES, label=f"features ({len(shown):,})")
    _draw_null_steps(ax, null, column, scale, edges)
    for bound in scale(bounds):
        line = ax.axvline(bound, **plot_plane.QUANTILE)
    line.set_label(f"wider bounding null: 0.001 and 0.999\n({_beyond(features, bounds)})")
    _mark_overflow(ax, features, shown, edges)
    ax.set(yscale="log", xlim=(edges[0], edges[-1]), xlabel=label, ylabel="density (log scale)")
    # One feature alone in its bin is the least that the features can show; null bins below that are cut.
    ax.set_ylim(bottom=0.5 / (len(shown) or len(null)) / np.diff(edges)[0])
    # Room above the bars for the counts of what lies outside the panel.
    bottom, top = ax.get_ylim()
    ax.set_ylim(top=top * (top / bottom) ** 0.2)
    ax.yaxis.set_major_formatter(FuncFormatter(plot_plane.number))
    ax.yaxis.set_minor_formatter(NullFormatter())  # else short axes get formulas as labels
    figure.legend(loc="outside lower center")
    return figure


def _draw_null_steps(
    ax: Axes, null: pd.DataFrame, column: str, scale: Callable[[np.ndarray], np.ndarray], edges: np.ndarray
) -> None:
    """The first kind of null (isotropic, where it is there) filled, the others as thin lines."""
    for i, (kind, rows) in enumerate(by_kind(null).items()):
        draws = scale(values(rows, column).to_numpy())
        density = np.histogram(draws, edges)[0] / len(draws) / np.diff(edges)
        style: dict[str, Any] = {"color": NULL_COLOR, "linewidth": 0.8, "linestyle": NULL_LINES[kind]}
        if i == 0:
            style = {"facecolor": (*to_rgb(NULL_COLOR), 0.4), "edgecolor": NULL_COLOR, "linewidth": 0.4}
        ax.stairs(density, edges, fill=i == 0, **style, label=f"null: {type_label(kind)} ({len(draws):,})")


def bin_edges(
    shown: Float[np.ndarray, "features"], bounds: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "edges"]:
    """Bins of one width over the features' central 99.8 % and the null's bounds, so that few lie outside.

    shown: the features' values, on the axis' scale; bounds: the null's two quantiles, on the same scale.
    """
    low, high, spread = bounds[0], bounds[1], 0.0
    if len(shown):
        least, lower, upper, greatest = np.quantile(shown, [0.001, 0.25, 0.75, 0.999])
        low, high, spread = min(low, least), max(high, greatest), upper - lower
    margin = 0.05 * (high - low)
    width = 2 * spread / max(len(shown), 1) ** (1 / 3)  # Freedman and Diaconis
    n_bins = int(np.clip((high - low) / width, 30, 120)) if width > 0 else 60
    return np.linspace(low - margin, high + margin, n_bins + 1)


def _beyond(features: Float[np.ndarray, "features"], bounds: Float[np.ndarray, "2"]) -> str:
    if not len(features):
        return "no feature has a shape"
    below, above = (features < bounds[0]).mean(), (features > bounds[1]).mean()
    return f"features beyond: {percent(below)} and {percent(above)}"


def _mark_overflow(
    ax: Axes,
    features: Float[np.ndarray, "features"],
    shown: Float[np.ndarray, "features"],
    edges: Float[np.ndarray, "edges"],
) -> None:
    """Say at the panel's edges how many features lie outside it, and how far the furthest."""
    background = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    style: dict[str, Any] = {"transform": ax.transAxes, "va": "top", "fontsize": SMALL, "bbox": background}
    if below := int((shown < edges[0]).sum()):
        least = plot_plane.number(float(f"{features.min():.3g}"))
        ax.text(0.01, 0.99, f"\N{LEFTWARDS ARROW} {below} more,\nto {least}", ha="left", **style)
    if above := int((shown > edges[-1]).sum()):
        greatest = plot_plane.number(float(f"{features.max():.3g}"))
        ax.text(0.99, 0.99, f"{above} more \N{RIGHTWARDS ARROW}\nup to {greatest}", ha="right", **style)


@styled()
def skewness_vs_kurtosis(
    moments: pd.DataFrame, null: pd.DataFrame, *, title: str, cosine: bool = False
) -> Figure:
    """Skewness against kurtosis, coloured by std / norm, with the null's contours and quantiles.

    cosine: the moments are of cosines, whose std has the norm divided out already.
    """
    figure = new_figure(SINGLE, 3.7, f"{title}\n{population(moments)}")
    ax = figure.add_subplot()
    ratio = values(moments, "std" if cosine else "std / norm")
    shown = moments.loc[ratio.index].dropna(subset=["skewness", "kurtosis"])
    colour = ratio.loc[shown.index]
    plot_plane.set_scales(ax, [shown, plot_plane.central(null)])
    low, high = colour.quantile([0.01, 0.99]) if len(colour) else (0.0, 1.0)
    style = plot_plane.dots(len(shown)) | {"cmap": "viridis", "vmin": low, "vmax": high}
    points = ax.scatter(shown["skewness"], shown["kurtosis"], c=colour, **style)
    bar = figure.colorbar(points, ax=ax, extend="both", aspect=30, pad=0.02)
    bar.set_label("std (cosine)" if cosine else "std / norm (logit per unit of direction)")
    bar.outline.set_linewidth(0.4)
    ax.set(xlabel="skewness (asinh scale)", ylabel="kurtosis (log scale)")
    figure.legend(handles=plot_plane.draw_null(ax, null), loc="outside lower center")
    return figure


@styled()
def types(
    moments: pd.DataFrame,
    null: pd.DataFrame,
    types: pd.DataFrame,
    type_counts: pd.DataFrame,
    *,
    scheme: str,
    title: str,
) -> Figure:
    """The same plane coloured by type under one scheme; the legend has the counts and the null's.

    The contours are of the nulls that bound the types. No line in this plane does: a feature is called by six
    tails, at a false discovery rate.
    """
    counts = scheme_counts(type_counts, scheme)
    labelled = typed(moments, types, scheme)
    figure = new_figure(SINGLE, 4.4, f"{title} · scheme {scheme}\n{population(moments)}")
    ax = figure.add_subplot()
    plot_plane.set_scales(ax, [labelled, plot_plane.central(null)])
    plot_plane.draw_types(ax, labelled)
    ax.set(xlabel="skewness (asinh scale)", ylabel="kurtosis (log scale)")
    handles = [*plot_plane.type_handles(counts), *plot_plane.draw_null(ax, null, quantiles=False)]
    figure.legend(handles=handles, loc="outside lower center")
    return figure
