"""The plane of skewness against kurtosis: scales, features by type, the null, the bound that no row crosses.

Kurtosis is on a log axis and skewness on an asinh axis (linear near 0, logarithmic in the tails), since both
have heavy tails. Every distribution obeys kurtosis >= 1 + skewness^2 (Pearson 1916), two-level ones equal it.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from scipy.ndimage import gaussian_filter

from fsrl.figures.style import (
    NULL_BOUNDS,
    NULL_COLOR,
    NULL_LINES,
    RASTER_FROM,
    TYPE_COLORS,
    TYPE_MARKERS,
    bounding,
    count_label,
    fix_ticks,
    null_quantiles,
    percent,
)
from fsrl.names import TYPES, type_label

INSIDE = 0.999  # share of a kind's null draws inside its contour
CENTRAL = (2e-4, 1 - 2e-4)  # quantiles between which the null is drawn
CELLS = 120  # of the grid on which the null's density is estimated, each way
_DECADES = (10, 100, 1_000, 10_000, 100_000)
# From dense to sparse; `pick_ticks` takes the first whose labels do not touch.
KURTOSIS_TICKS = (
    (1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 10, 15, 20, 30, 50, 70, 100),
    (1, 1.5, 2, 3, 5, *(step * decade for decade in _DECADES for step in (1, 2, 5))),
    (1, 3, *(step * decade for decade in _DECADES for step in (1, 3))),
    (1, *_DECADES),
)
_TAILS = (
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    (0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4),
    (0.5, 1, 1.5, 2, 3, 5),
    (0.5, 1, 2, 5, 10, 20, 50, 100, 200),
    (1, 2, 5, 10, 20, 50, 100, 200),
    (1, 3, 10, 30, 100, 300),
    (1, 10, 100),
    (10, 100),
)
SKEWNESS_TICKS = tuple((*(-x for x in reversed(tail)), 0, *tail) for tail in _TAILS)


class Scale(NamedTuple):
    """How a moment is drawn along an axis; `set_axis` uses it."""

    name: str
    """Matplotlib's name of the scale; asinh's linear width is 1."""
    forward: Callable[..., Any]
    inverse: Callable[..., Any]
    ticks: Sequence[Sequence[float]]
    """Lists of ticks from dense to sparse."""


SCALES = {
    "skewness": Scale("asinh", np.arcsinh, np.sinh, SKEWNESS_TICKS),
    "kurtosis": Scale("log", np.log, np.exp, KURTOSIS_TICKS),
}
CONTOUR: dict[str, Any] = {"color": "#000000", "linewidth": 0.8}
BOUND: dict[str, Any] = {"color": "#8C8C8C", "linewidth": 0.9}
QUANTILE: dict[str, Any] = {"color": NULL_COLOR, "linewidth": 0.6, "linestyle": (0, (4, 2))}


def number(tick: float, _: int | None = None) -> str:
    """A tick's label as a plain number, never a power of ten."""
    return f"{tick:g}".replace("-", "\N{MINUS SIGN}")


def pick_ticks(
    limits: tuple[float, float],
    candidates: Sequence[Sequence[float]],
    scale: Callable[[float], float],
    gap: float,
) -> list[float]:
    """The densest list of ticks whose neighbours are at least `gap` of the axis apart on paper.

    limits: ends of the axis, in data units; candidates: lists of ticks from dense to sparse; scale: the axis'
    transformation; gap: least distance as a share of the axis' length.
    """
    low, high = limits
    length = scale(high) - scale(low)
    inside = [[tick for tick in ticks if low <= tick <= high] for ticks in candidates]
    fits = (ticks for ticks in inside if all(scale(b) - scale(a) >= gap * length for a, b in pairwise(ticks)))
    return next(fits, inside[-1])


def set_axis(axis: XAxis | YAxis, column: str, low: float, high: float, gap: float) -> None:
    """Scale, limits and ticks of one axis along which skewness or kurtosis is drawn.

    axis: a panel's xaxis or yaxis; column: "skewness" or "kurtosis"; low, high: ends of the axis on its
    scale, asinh of a skewness or log of a kurtosis; gap: least distance between ticks, as a share of the
    axis.
    """
    scale = SCALES[column]
    limits = float(scale.inverse(low)), float(scale.inverse(high))
    side = axis.axis_name  # x or y
    axis.axes.set(**{f"{side}scale": scale.name})
    axis.axes.set(**{f"{side}lim": limits})
    fix_ticks(axis, pick_ticks(limits, scale.ticks, scale.forward, gap), number)


def central(null: pd.DataFrame) -> pd.DataFrame:
    """A null's central 99.96 % in each moment, as two rows: single far draws must not stretch a panel."""
    columns = ["skewness", "kurtosis"]
    return pd.DataFrame({column: null_quantiles(null, column, CENTRAL) for column in columns})


def set_scales(
    ax: Axes, frames: Sequence[pd.DataFrame], gaps: tuple[float, float] = (0.1, 0.06), headroom: float = 0.0
) -> None:
    """Scales, ticks and limits of the plane, with every row of the frames inside and 6 % to spare.

    ax: the panel; frames: tables with columns skewness and kurtosis, whose rows without shape are passed
    over; gaps: least distance between ticks along x and y, as shares of the axes; headroom: free space above
    the highest row, as a share of the rows' height on paper.
    """
    points = pd.concat([frame[["skewness", "kurtosis"]].dropna() for frame in frames])
    for axis, column, gap, extra in (
        (ax.xaxis, "skewness", gaps[0], 0.0),
        (ax.yaxis, "kurtosis", gaps[1], headroom),
    ):
        scale = SCALES[column].forward
        low, high = scale(points[column].min()), scale(points[column].max())
        margin = 0.06 * (high - low) + 0.01
        set_axis(axis, column, low - margin, high + margin + extra * (high - low), gap)


def draw_null(ax: Axes, null: pd.DataFrame, quantiles: bool = True) -> list[Line2D]:
    """A contour around the draws of each null that bounds the types, and the bound 1 + skewness^2.

    quantiles: also the nulls' quantiles 0.001 and 0.999, of the most extreme kind. The panel's scales must be
    set. Returns the legend's entries of what is inside the panel.
    """
    handles = []
    for kind, rows in bounding(null).items():
        draws = rows[["skewness", "kurtosis"]].dropna()
        x, y, density, level = density_level(np.arcsinh(draws["skewness"]), np.log(draws["kurtosis"]))
        options = {"colors": CONTOUR["color"], "linewidths": CONTOUR["linewidth"], "zorder": 4}
        lines = ax.contour(
            np.sinh(x), np.exp(y), density.T, [level], linestyles=[NULL_LINES[kind]], **options
        )
        lines.set_path_effects([withStroke(linewidth=1.8, foreground="white")])
        label = f"null, {percent(INSIDE)} of {len(draws):,}: {type_label(kind)}"
        handles.append(Line2D([], [], **CONTOUR, linestyle=NULL_LINES[kind], label=label))
    if quantiles:
        for column, line in (("skewness", ax.axvline), ("kurtosis", ax.axhline)):
            for bound in null_quantiles(null, column, NULL_BOUNDS):
                line(bound, **QUANTILE, zorder=1.4)
        handles.append(Line2D([], [], **QUANTILE, label="quantiles 0.001 and 0.999 of the wider null"))
    low, high = np.arcsinh(ax.get_xlim())
    skewness = np.sinh(np.linspace(low, high, 400))
    ax.plot(skewness, 1 + skewness**2, **BOUND, zorder=1.5)
    if (1 + skewness**2).max() > ax.get_ylim()[0]:
        handles.append(Line2D([], [], **BOUND, label="bound: kurtosis = 1 + skewness\N{SUPERSCRIPT TWO}"))
    return handles


def density_level(
    x: pd.Series, y: pd.Series
) -> tuple[Float[np.ndarray, "cells"], Float[np.ndarray, "cells"], Float[np.ndarray, "cells cells"], float]:
    """A smoothed density of the draws on a grid, and the level whose contour holds the share INSIDE of them.

    Gives the grid's x and its y, the density and the level.
    """
    grids = []
    for coordinate in (x, y):
        low, high = np.quantile(coordinate, CENTRAL)
        margin = 0.25 * (high - low) + 1e-6
        grids.append(np.linspace(low - margin, high + margin, CELLS + 1))
    counts, _, _ = np.histogram2d(x, y, bins=grids)
    density = gaussian_filter(counts, 4.0, mode="constant")
    pairs = zip((x, y), grids, strict=True)
    cells = [np.clip(np.digitize(values, grid) - 1, 0, CELLS - 1) for values, grid in pairs]
    # A level is a quantile of the density at the draws themselves, so that smoothing does not bias the share.
    level = float(np.quantile(density[cells[0], cells[1]], 1 - INSIDE))
    centres = [(grid[1:] + grid[:-1]) / 2 for grid in grids]
    return centres[0], centres[1], density, level


def dots(n: int) -> dict[str, Any]:
    """Options of a scatter of n points: smaller when there are many, and pixels beyond RASTER_FROM."""
    return {"s": float(np.clip(6000 / max(n, 1), 1.0, 5.0)), "linewidths": 0, "rasterized": n > RASTER_FROM}


def draw_types(ax: Axes, labelled: pd.DataFrame) -> None:
    """Points of the plane in their type's colour; types of higher precedence lie on top.

    ax: a panel whose scales are set; labelled: moments with a column `type`, from `fsrl.types.select.typed`.
    """
    for name in ("unclassified", *reversed(TYPES)):
        rows = labelled[labelled["type"] == name]
        ax.scatter(rows["skewness"], rows["kurtosis"], zorder=3, **points_of(name, len(labelled)))


def points_of(name: str, n: int) -> dict[str, Any]:
    """Options of a scatter of one type's points among n: its colour and marker, larger where it is a type."""
    style = dots(n) | {"color": TYPE_COLORS[name], "marker": TYPE_MARKERS[name]}
    return style | ({"s": 2 * style["s"]} if name in TYPES else {})


def type_handle(name: str, label: str, empty: bool = False) -> Line2D:
    """A legend entry in the type's colour; hollow for a type without features, in its marker."""
    style: dict[str, Any] = {"linestyle": "", "marker": TYPE_MARKERS[name], "markersize": 3.5}
    handle = Line2D([], [], **style, color=TYPE_COLORS[name], label=label)
    if empty:
        handle.set_markerfacecolor("none")
    return handle


def type_handles(counts: pd.DataFrame) -> list[Line2D]:
    """Legend entries of a scheme's types, with their counts; `degenerate` only where there are some.

    counts: rows of one scheme, from `fsrl.types.select.scheme_counts`.
    """
    handles = []
    for name in TYPE_COLORS:
        if name in counts.index:
            empty = counts.loc[name, "features"] == 0
            if not (empty and name == "degenerate"):
                handles.append(type_handle(name, count_label(name, counts), empty))
    return handles
