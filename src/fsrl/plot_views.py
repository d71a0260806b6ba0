"""Figure of one layer in two views: how far the tokens that are left out move the same features' moments."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from fsrl import plot_plane
from fsrl.errors import FsrlError
from fsrl.plot_style import (
    DOUBLE,
    NULL_BOUNDS,
    TYPE_COLORS,
    TYPES,
    new_figure,
    null_quantiles,
    percent,
    styled,
    type_label,
    typed,
)

MOMENTS = ("skewness", "kurtosis")
DIAGONAL: dict[str, Any] = {"color": "#8C8C8C", "linewidth": 0.9}


@styled()
def two_views(
    moments: tuple[pd.DataFrame, pd.DataFrame],
    nulls: tuple[pd.DataFrame, pd.DataFrame],
    types: pd.DataFrame,
    *,
    views: tuple[str, str],
    scheme: str,
    title: str,
) -> Figure:
    """The features' skewness and kurtosis in one view against the other, with each view's null bounds.

    Features in the corners are beyond the null in both views; those beside them change sides.

    Args:
        moments: tables of the same SAE in the two views; the first is drawn along x.
        nulls: tables null of the two views.
        types: table types of the second view, which gives the colours.
        views: names of the two views.
        scheme: the scheme of the colours.
        title: study and hook.

    Raises:
        FsrlError: where the two views do not have the same features.
    """
    if not np.array_equal(moments[0]["feature"], moments[1]["feature"]):
        raise FsrlError(
            f"views {views[0]} and {views[1]}: their tables moments list other features; build both again"
        )
    labelled = typed(moments[1], types, scheme)
    note = f"{len(labelled):,} features, dead ones included; colour: type in view {views[1]}, scheme {scheme}"
    figure = new_figure(DOUBLE, 3.75, f"{title} · views {views[0]} and {views[1]}\n{note}")
    for ax, column in zip(figure.subplots(1, 2), MOMENTS, strict=True):
        pair = pd.DataFrame(
            {"x": moments[0][column], "y": labelled[column], "type": labelled["type"]}
        ).dropna()
        bounds = [null_quantiles(null, column, NULL_BOUNDS) for null in nulls]
        _set_scales(ax, pair, bounds, column)
        _draw_pairs(ax, pair)
        for limit in bounds[0]:
            ax.axvline(limit, **plot_plane.QUANTILE, zorder=2)
        for limit in bounds[1]:
            ax.axhline(limit, **plot_plane.QUANTILE, zorder=2)
        ax.axline((bounds[0][0], bounds[0][0]), (bounds[0][1], bounds[0][1]), **DIAGONAL, zorder=1)
        ax.set_xlabel(f"{column} in view {views[0]} ({ax.get_xscale()} scale)")
        ax.set_ylabel(f"{column} in view {views[1]} ({ax.get_yscale()} scale)")
        ax.set_title(_crossing(pair, bounds, views), loc="left")
    handles = [plot_plane.type_handle(name, type_label(name)) for name in (*TYPES, "unclassified")]
    quantiles = "quantiles 0.001 and 0.999 of the view's most extreme null"
    handles.append(Line2D([], [], **plot_plane.QUANTILE, label=quantiles))
    handles.append(Line2D([], [], **DIAGONAL, label="equal in both views"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _crossing(pair: pd.DataFrame, bounds: list[np.ndarray], views: tuple[str, str]) -> str:
    """How many features lie beyond the null in each view and in both, on either side."""
    beyond = [
        (pair[axis] < low) | (pair[axis] > high) for axis, (low, high) in zip("xy", bounds, strict=True)
    ]
    n = max(len(pair), 1)
    shares = [percent(part.sum() / n) for part in (*beyond, beyond[0] & beyond[1])]
    return f"beyond the null: {views[0]} {shares[0]}, {views[1]} {shares[1]}, both {shares[2]}"


def _set_scales(ax: Axes, pair: pd.DataFrame, bounds: list[np.ndarray], column: str) -> None:
    """The plane's scales on both axes, with the same limits."""
    skewed = column == "skewness"
    scale, inverse = (np.arcsinh, np.sinh) if skewed else (np.log, np.exp)
    candidates = plot_plane.SKEWNESS_TICKS if skewed else plot_plane.KURTOSIS_TICKS
    everything = scale(np.concatenate([pair["x"], pair["y"], *bounds]))
    low, high = everything.min(), everything.max()
    margin = 0.05 * (high - low)
    limits = float(inverse(low - margin)), float(inverse(high + margin))
    options: dict[str, Any] = {"linear_width": 1.0} if skewed else {}
    for axis, gap in ((ax.xaxis, 0.1), (ax.yaxis, 0.06)):
        getattr(ax, f"set_{axis.axis_name}scale")("asinh" if skewed else "log", **options)
        getattr(ax, f"set_{axis.axis_name}lim")(limits)
        axis.set_major_locator(FixedLocator(plot_plane.pick_ticks(limits, candidates, scale, gap)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(plot_plane.number))


def _draw_pairs(ax: Axes, pair: pd.DataFrame) -> None:
    style = plot_plane.dots(len(pair))
    for name in ("unclassified", *reversed(TYPES)):
        rows = pair[pair["type"] == name]
        ax.scatter(rows["x"], rows["y"], color=TYPE_COLORS[name], zorder=3, **style)
