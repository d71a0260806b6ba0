"""A directed graph without cycles as a figure: boxes in rows, every arrow downwards, none that others imply.

The layout is that of Sugiyama, Tagawa & Toda (1981, "Methods for visual understanding of hierarchical system
structures"): a row for each node no higher than those that it needs, points in the rows that long arrows
cross, rows sorted by the mean place of what they are joined to, then straightened. The same edges give the
same figure.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from fsrl.errors import FsrlError
from fsrl.figures.style import DOUBLE, SMALL, new_figure, styled

Edge = tuple[str, str]
SWEEPS = 12
ROW = 0.46  # inches from row to row
WIDEST = 7  # boxes in a row; those for which there is no place move down
BEND = 0.3  # the place that an arrow takes in a row, in boxes
FILLS = {False: "#E8EEF5", True: "#FBE9D7"}


def dot_edges(text: str) -> list[Edge]:
    """The edges of a graph in Graphviz' dot language as labels, sorted; nodes are numbers with a label.

    Raises:
        FsrlError: if an edge names a node without a label.
    """
    labels = dict(re.findall(r'^\s*(\d+)\s*\[label\s*=\s*"([^"]*)"', text, re.M))
    edges = re.findall(r"^\s*(\d+)\s*->\s*(\d+)", text, re.M)
    unknown = [node for edge in edges for node in edge if node not in labels]
    if unknown:
        raise FsrlError(f"graph in dot language: node {unknown[0]} has no label; write it with labels")
    return sorted({(labels[start], labels[end]) for start, end in edges})


def rows_of(edges: Iterable[Edge], widest: int = WIDEST) -> list[list[str]]:
    """The nodes in rows: each below all that it needs, at most `widest` in a row.

    Raises:
        FsrlError: if the edges make a circle.
    """
    needs = _needs(edges)
    place: dict[str, int] = {}
    rows: list[list[str]] = []
    while len(place) < len(needs):
        ready = sorted(node for node in needs if node not in place and needs[node] <= place.keys())
        if not ready:
            raise FsrlError("graph: its edges make a circle; there is no order in which to draw it")
        for node in ready:
            row = 1 + max((place[need] for need in needs[node]), default=-1)
            while row < len(rows) and len(rows[row]) >= widest:
                row += 1
            rows += [[] for _ in range(row + 1 - len(rows))]
            rows[row].append(node)
            place[node] = row
    return rows


def reduced(edges: Iterable[Edge]) -> list[Edge]:
    """The edges that no path of others implies (the transitive reduction), sorted."""
    needs = _needs(edges)
    above: dict[str, set[str]] = {}
    for row in rows_of(edges):
        for node in row:
            above[node] = set().union(*(above[need] | {need} for need in needs[node]))
    return sorted(
        (start, end)
        for end, starts in needs.items()
        for start in starts
        if not any(start in above[other] for other in starts)
    )


@styled()
def rules(edges: Iterable[Edge], *, title: str) -> Figure:
    """Boxes and arrows; names that end in "figures" have a colour of their own."""
    edges = reduced(list(edges))
    rows = rows_of(edges)
    note = "arrow: reads what that rule wrote; arrows that others imply are left out; orange: draws figures"
    figure = new_figure(DOUBLE, 0.45 + ROW * len(rows), f"{title}\n{note}")
    ax = figure.add_subplot()
    ax.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    ax.set_axis_off()
    lines, ordered = _with_bends(edges, rows)
    places = _places(ordered, lines)
    for line in lines:
        _draw_arrow(ax, line, places)
    for row in rows:
        for node in row:
            _draw_box(ax, node, places[node])
    return figure


def _needs(edges: Iterable[Edge]) -> dict[str, set[str]]:
    needs: dict[str, set[str]] = {}
    for start, end in edges:
        needs.setdefault(start, set())
        needs.setdefault(end, set()).add(start)
    return needs


def _with_bends(edges: Iterable[Edge], rows: list[list[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Each edge as its chain of points, one a row; the rows with the points of arrows that cross them.

    Arrows from one node share their points, so that they part as late as they can.
    """
    place = {node: number for number, row in enumerate(rows) for node in row}
    ordered = [list(row) for row in rows]
    lines = []
    for start, end in edges:
        bends = [f"{start} > {row}" for row in range(place[start] + 1, place[end])]
        for row, bend in enumerate(bends, place[start] + 1):
            if bend not in ordered[row]:
                ordered[row].append(bend)
        lines.append([start, *bends, end])
    return lines, ordered


def _places(rows: list[list[str]], lines: list[list[str]]) -> dict[str, tuple[float, int]]:
    """x in 0..1 and the row of every point; sorts the rows."""
    joined: dict[str, set[str]] = {point: set() for row in rows for point in row}
    for line in lines:
        for upper, lower in zip(line, line[1:], strict=False):
            joined[upper].add(lower)
            joined[lower].add(upper)
    number = {point: i for i, row in enumerate(rows) for point in row}
    x = {point: place for row in rows for point, place in zip(row, _spread(row), strict=True)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            centre = {}
            for point in row:
                others = [other for other in joined[point] if (number[other] < number[point]) == down]
                centre[point] = _mean(x, others, x[point])
            row.sort(key=lambda point: (centre[point], point))
            x |= dict(zip(row, _spread(row), strict=True))
    _straighten(rows, joined, x)
    return {point: (x[point], number[point]) for point in x}


def _straighten(rows: list[list[str]], joined: Mapping[str, set[str]], x: dict[str, float]) -> None:
    """Move points towards those that they are joined to, bends before boxes; order and distance stay."""
    unit = 1 / max(_widths(row).sum() for row in rows)
    for sweep in range(4 * SWEEPS):
        for row in rows if sweep % 2 else rows[::-1]:
            widths = _widths(row) * unit
            offsets = np.cumsum(widths) - widths / 2
            wish = np.array([_mean(x, joined[point], x[point]) for point in row])
            best = isotonic_regression(wish - offsets, weights=1 / widths).x
            places = best.clip(0, 1 - widths.sum()) + offsets
            x |= dict(zip(row, map(float, places), strict=True))


def _mean(x: Mapping[str, float], points: Iterable[str], default: float) -> float:
    # Sorted, since the order of a set, and so the last bit of a sum, differs from run to run.
    found = sorted(x[point] for point in points)
    return float(np.mean(found)) if found else default


def _widths(row: list[str]) -> np.ndarray:
    """The place that each point takes, in boxes."""
    return np.array([BEND if " > " in point else 1.0 for point in row])


def _spread(row: list[str]) -> list[float]:
    """The middles of a row's points, spread over 0..1."""
    widths = _widths(row)
    return list((np.cumsum(widths) - widths / 2) / widths.sum())


def _boxed(name: str) -> str:
    """A rule's name in lines that fit beside others."""
    return textwrap.fill(name.replace("_", " "), 13, break_long_words=False)


def _half(point: str) -> float:
    """Half the height of a point's box, in rows."""
    lines = 0 if " > " in point else 1 + _boxed(point).count("\n")
    return SMALL * (0.5 * lines + (0.35 if lines else 0)) / (72 * ROW)


def _draw_arrow(ax: Axes, line: list[str], places: Mapping[str, tuple[float, int]]) -> None:
    x = [places[point][0] for point in line]
    y = [float(places[point][1]) for point in line]
    y[0] += _half(line[0])
    y[-1] -= _half(line[-1])
    style: dict[str, Any] = {"color": "#8A8A8A", "linewidth": 0.6}
    ax.plot(x[:-1], y[:-1], **style, solid_joinstyle="round")
    arrow: dict[str, Any] = {"arrowstyle": "-|>,head_width=0.12,head_length=0.25", "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (x[-1], y[-1]), (x[-2], y[-2]), arrowprops={**arrow, **style})


def _draw_box(ax: Axes, name: str, place: tuple[float, int]) -> None:
    fill = FILLS[name.endswith("figures")]
    box = {"boxstyle": "round,pad=0.3", "facecolor": fill, "edgecolor": "#555555", "linewidth": 0.5}
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "linespacing": 1.0}
    ax.text(*place, _boxed(name), bbox=box, zorder=3, **style)
