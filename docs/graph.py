"""A mermaid graph of the kind that `make rulegraph` writes, as SVG: mermaid itself would have to be fetched.

Nodes stand in columns by their longest way from a start; sweeps over the columns put each node near the mean
of its neighbours, so that few arrows cross. Example: `a --> b` gives two boxes and one curve.
"""

import html
import re

import networkx

ROW, COLUMN, BOX, HEIGHT = 26, 272, 232, 20  # pixels
SWEEPS = 12


def svg(text: str) -> str:
    """The graph of lines `start --> end`; ValueError where there are none."""
    graph = networkx.DiGraph(re.findall(r"^\s*(\w+) --> (\w+)$", text, re.M))
    if not graph:
        raise ValueError(f"no arrows in {text[:40]!r}")
    columns = ordered(graph)
    most = max(map(len, columns))
    place = {
        node: (number * COLUMN + 2, (most - len(column)) * ROW / 2 + row * ROW + 4)
        for number, column in enumerate(columns)
        for row, node in enumerate(column)
    }
    width, height = len(columns) * COLUMN - COLUMN + BOX + 4, most * ROW + 8
    style = f"display: block; max-width: none; width: {width}px; height: {height}px"
    arrows = [curve(*place[start], *place[end]) for start, end in graph.edges]
    shapes = "".join([*arrows, *(box(node, *place[node]) for node in graph)])
    return f'<div class="rules"><svg style="{style}" role="img" aria-label="rules">{shapes}</svg></div>'


def ordered(graph: networkx.DiGraph) -> list[list[str]]:
    """The nodes by column, each column from top to bottom."""
    columns = [sorted(column) for column in networkx.topological_generations(graph)]
    level = {node: number for number, column in enumerate(columns) for node in column}
    # A start stands just before the first that needs it, not in the first column.
    for node in graph:
        if graph.in_degree(node) == 0:
            level[node] = min(level[after] for after in graph.successors(node)) - 1
    columns = [[node for node in level if level[node] == number] for number in range(max(level.values()) + 1)]
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 else reversed(columns):
            height = {n: row - len(c) / 2 for c in columns for row, n in enumerate(c)}

            def mean(node: str, height: dict[str, float] = height) -> float:
                near = [*graph.predecessors(node), *graph.successors(node)]
                return sum(height[other] for other in near) / len(near)

            column.sort(key=mean)
    return columns


def curve(x: float, y: float, to_x: float, to_y: float) -> str:
    """An arrow from a box's right side to another's left."""
    x, y, to_y, bend = x + BOX, y + HEIGHT / 2, to_y + HEIGHT / 2, 20
    return f'<path d="M{x} {y:g}C{x + bend} {y:g} {to_x - bend} {to_y:g} {to_x} {to_y:g}"/>'


def box(node: str, x: float, y: float) -> str:
    """A rule's name in its box."""
    return (
        f'<rect x="{x}" y="{y:g}" width="{BOX}" height="{HEIGHT}" rx="3"/>'
        f'<text x="{x + 6}" y="{y + HEIGHT - 6:g}">{html.escape(node)}</text>'
    )
