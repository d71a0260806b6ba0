"""Figure of one layer in two views: how far the tokens that are left out move the same features' moments."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsrl.errors import FsrlError
from fsrl.figures import plane as plot_plane
from fsrl.figures.style import DOUBLE, NULL_BOUNDS, new_figure, null_quantiles, percent, styled
from fsrl.names import TYPES, type_label
from fsrl.types.select import typed

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

    moments: tables of the same SAE in the two views, of which the first is drawn along x; nulls: tables null
    of the two views; types: table types of the second view, which gives the colours; views: names of the two
    views; scheme: the scheme of the colours; title: study and hook. Raises FsrlError where the two views do
    not have the same features.
    """
    if not np.array_equal(moments[0]["feature"], moments[1]["feature"]):
        raise FsrlError(
            f"views {views[0]} and {views[1]}: their tables moments list other features; build both again"
        )
    labelled = typed(moments[1], types, scheme)
    note = f"{len(labelled):,} features, dead ones included; colour: type in view {views[1]}, scheme {scheme}"
    figure = new_figure(DOUBLE, 3.75, f"{title} · views {views[0]} and {views[1]}\n{note}")
    for ax, column in zip(figure.subplots(1, 2), MOMENTS, strict=True):
        pair = {"x": moments[0][column], "y": labelled[column], "type": labelled["type"]}
        bounds = [null_quantiles(null, column, NULL_BOUNDS) for null in nulls]
        _draw_moment(ax, pd.DataFrame(pair).dropna(), bounds, column, views)
    figure.legend(handles=_handles(), loc="outside lower center", ncols=4)
    return figure


def _handles() -> list[Line2D]:
    handles = [plot_plane.type_handle(name, type_label(name)) for name in (*TYPES, "unclassified")]
    quantiles = "quantiles 0.001 and 0.999 of the view's wider bounding null"
    handles.append(Line2D([], [], **plot_plane.QUANTILE, label=quantiles))
    handles.append(Line2D([], [], **DIAGONAL, label="equal in both views"))
    return handles


def _draw_moment(
    ax: Axes, pair: pd.DataFrame, bounds: list[Float[np.ndarray, "2"]], column: str, views: tuple[str, str]
) -> None:
    """One panel: the features' values in both views (x, y, type) and the two views' bounds."""
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


def _crossing(pair: pd.DataFrame, bounds: list[Float[np.ndarray, "2"]], views: tuple[str, str]) -> str:
    """How many features lie beyond the null in each view and in both, on either side."""
    beyond = [
        (pair[axis] < low) | (pair[axis] > high) for axis, (low, high) in zip("xy", bounds, strict=True)
    ]
    n = max(len(pair), 1)
    shares = [percent(part.sum() / n) for part in (*beyond, beyond[0] & beyond[1])]
    return f"beyond the null: {views[0]} {shares[0]}, {views[1]} {shares[1]}, both {shares[2]}"


def _set_scales(ax: Axes, pair: pd.DataFrame, bounds: list[Float[np.ndarray, "2"]], column: str) -> None:
    """The plane's scales on both axes, with the same limits."""
    everything = plot_plane.SCALES[column].forward(np.concatenate([pair["x"], pair["y"], *bounds]))
    low, high = everything.min(), everything.max()
    margin = 0.05 * (high - low)
    for axis, gap in ((ax.xaxis, 0.1), (ax.yaxis, 0.06)):
        plot_plane.set_axis(axis, column, low - margin, high + margin, gap)


def _draw_pairs(ax: Axes, pair: pd.DataFrame) -> None:
    for name in ("unclassified", *reversed(TYPES)):
        rows = pair[pair["type"] == name]
        ax.scatter(rows["x"], rows["y"], zorder=3, **plot_plane.points_of(name, len(pair)))
