"""Figure of the evidence by type: how far beyond chance each feature lies, and the tokens of the furthest.

Laid out by hand in inches from the top left corner, so that each type's tokens stand beside its points.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsrl.figures import plane as plot_plane
from fsrl.figures.exemplars import RANKED
from fsrl.figures.style import (
    DOUBLE,
    SMALL,
    TITLE,
    TYPE_COLORS,
    expected,
    fix_ticks,
    glyphs,
    new_figure,
    percent,
    population,
    styled,
    text_width,
)
from fsrl.names import TYPES, UNCLASSIFIED, type_label
from fsrl.tokens.text import legible
from fsrl.types.select import by_evidence, scheme_counts, typed

# Inches: where the panel begins, its width, the page's right margin.
LEFT, PANEL, RIGHT = 1.02, 2.3, 0.06
# Inches: right ends of the columns beside the panel, and where the tokens begin.
NUMBER, VALUE, FIRES, TOKENS = 3.68, 4.22, 4.8, 4.88
# Inches: height of a type, of a line of tokens, of what is below and above the panel.
ROW, LINE, FOOT, HEAD = 0.5, 0.12, 0.36, 0.2
FAINT = "#555555"
BEST = 3
N_TOKENS = 8
WIDEST = 60.0  # points: of one token
LEAST = 0.1  # features of less evidence are counted at the panel's edge
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000)
FEW_TICKS = (0.1, 1, 10, 100, 1_000, 10_000, 100_000)
# The sides of the extremes that a type is about, each with the mark before its tokens.
UP, DOWN = ("top", "\N{UPWARDS ARROW}"), ("bottom", "\N{DOWNWARDS ARROW}")
SIDES = {"partition": (UP, DOWN), "two_sided": (UP, DOWN), "suppression": (DOWN,)}


@styled()
def evidence(
    moments: pd.DataFrame,
    types: pd.DataFrame,
    type_counts: pd.DataFrame,
    extremes: pd.DataFrame,
    *,
    scheme: str,
    title: str,
) -> Figure:
    """Every feature's evidence on a logarithmic axis, a row per type; beside it the best ones' tokens.

    Evidence is 1 at the 0.999 quantile of the bounding nulls; a label needs a q-value and not this line, so
    that features of a type may lie left of it where a layer has many. The best are ringed and chosen as
    `fsrl.types.select.by_evidence` says.

    moments, types, type_counts, extremes: tables of one layer and view; scheme: the scheme whose types are
    shown; title: study, hook and view. A scheme that reads no tails has no evidence, which the panel says.
    """
    counts = scheme_counts(type_counts, scheme)
    labelled = typed(moments, types, scheme)
    names = [name for name in (*TYPES, UNCLASSIFIED) if name in counts.index]
    note = f"{population(moments)}; ringed, with their tokens: the best\n{RANKED}"
    figure, top = _page(len(names), f"{title} · scheme {scheme}\n{note}")
    for right, head in ((NUMBER, "feature"), (VALUE, "evidence"), (FIRES, "fires")):
        _text(figure, right, top - 0.07, head, ha="right", color=FAINT, style="italic")
    _text(
        figure,
        TOKENS,
        top - 0.07,
        f"most raised {UP[1]}, most lowered {DOWN[1]}",
        color=FAINT,
        style="italic",
    )
    ax = _panel(figure, top, len(names))
    known = labelled[labelled["evidence"].notna()]
    if known.empty:
        style: dict[str, Any] = {"ha": "center", "va": "center", "transform": ax.transAxes}
        ax.text(0.5, 0.5, "no feature has evidence\nin this scheme", **style)
    for row, name in enumerate(names):
        mine = known[known["type"] == name]
        best = by_evidence(mine).head(BEST)
        _draw_row(ax, row, name, mine, best, len(labelled))
        _label_row(figure, top + row * ROW, name, counts)
        for i, (_, feature) in enumerate(best.iterrows()):
            place = top + row * ROW + 0.08 + i * LINE
            _draw_tokens(figure, place, name, feature, extremes[extremes["feature"] == feature["feature"]])
    _scale(ax, known["evidence"])
    return figure


def _page(rows: int, title: str) -> tuple[Figure, float]:
    """A page with room for the rows below its title, and where they begin; in inches from the top."""
    figure = new_figure(DOUBLE, 1.0, title)
    top = 0.12 * (figure.get_suptitle().count("\n") + 1) + HEAD
    figure.set_size_inches(DOUBLE, top + rows * ROW + FOOT)
    figure.set_layout_engine("none")
    figure.suptitle(figure.get_suptitle(), fontsize=TITLE, y=1 - 0.03 / figure.get_figheight(), va="top")
    return figure, top


def _panel(figure: Figure, top: float, rows: int) -> Axes:
    width, height = figure.get_size_inches()
    box = (LEFT / width, FOOT / height, PANEL / width, rows * ROW / height)
    ax = figure.add_axes(box)
    ax.set(ylim=(rows - 0.5, -0.5), yticks=[])
    for edge in np.arange(1, rows) - 0.5:
        ax.axhline(edge, color="#E5E5E5", linewidth=0.5, zorder=0)
    return ax


def _draw_row(ax: Axes, row: int, name: str, mine: pd.DataFrame, best: pd.DataFrame, n: int) -> None:
    """The points of one type; those of little evidence as a count at the left edge."""
    shown = mine[mine["evidence"] >= LEAST]
    ax.scatter(shown["evidence"], _heights(shown, row), zorder=3, **plot_plane.points_of(name, n))
    style = plot_plane.points_of(name, n) | {"rasterized": False, "linewidths": 0.6, "edgecolors": "black"}
    ringed = best[best["evidence"] >= LEAST]
    ax.scatter(ringed["evidence"], _heights(ringed, row), zorder=4, **style | {"s": 2.5 * style["s"]})
    if below := len(mine) - len(shown):
        words: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "fontsize": SMALL, "va": "center"}
        words["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        ax.text(0.01, row, f"\N{LEFTWARDS ARROW} {below:,}", **words, zorder=5)


def _heights(rows: pd.DataFrame, row: int) -> Any:
    """Heights within the row by the golden ratio of the features' numbers, so that points do not hide."""
    return row + 0.34 * (2 * np.mod(rows["feature"] * (np.sqrt(5) - 1) / 2, 1) - 1)


def _scale(ax: Axes, values: "pd.Series[float]") -> None:
    high = 1.3 * max(3.0, float(values.max()) if len(values) else 0.0)
    ax.set(xscale="log", xlim=(0.6 * LEAST, high))
    ax.set_xlabel("evidence (log scale; 1: the nulls' 0.999 quantile)")
    ticks = plot_plane.pick_ticks((LEAST, high), (TICKS, FEW_TICKS), np.log10, 0.08)
    fix_ticks(ax.xaxis, ticks, plot_plane.number)
    ax.axvline(1, **plot_plane.QUANTILE, zorder=2)


def _label_row(figure: Figure, top: float, name: str, counts: pd.DataFrame) -> None:
    row = counts.loc[name]
    lines = [type_label(name), f"{row['features']:,} feature{'' if row['features'] == 1 else 's'}"]
    if name in TYPES:
        lines.append(f"(chance: {expected(row['expected_at_bounds'])})")
    for i, line in enumerate(lines):
        style = {"weight": "bold"} if i == 0 else {}
        _text(figure, LEFT - 0.08, top + 0.08 + i * LINE, line, ha="right", **style)
    width, height = figure.get_size_inches()
    bar: dict[str, Any] = {"color": TYPE_COLORS[name], "linewidth": 3, "solid_capstyle": "butt"}
    x, ends = (LEFT - 0.025) / width, [1 - (top + 0.05) / height, 1 - (top + ROW - 0.05) / height]
    figure.add_artist(Line2D([x, x], ends, **bar))


def _draw_tokens(figure: Figure, top: float, name: str, feature: pd.Series, extremes: pd.DataFrame) -> None:
    """One feature's line: number, evidence, how often it fires, and the tokens that its type is about."""
    density = feature["log10_density"]
    fires = "unknown" if pd.isna(density) else percent(10.0 ** float(density))
    cells = (NUMBER, f"{feature['feature']}"), (VALUE, f"{feature['evidence']:.3g}"), (FIRES, fires)
    for right, cell in cells:
        _text(figure, right, top, cell, ha="right", color="black" if right == VALUE else FAINT)
    sides = SIDES.get(name, (UP,))
    room = (DOUBLE - RIGHT - TOKENS) / len(sides)
    for i, (side, mark) in enumerate(sides):
        rows = extremes[extremes["side"] == side].sort_values("rank").head(N_TOKENS)
        _text(figure, TOKENS + i * room, top, _listed(mark, rows["token"], 72 * room - 6))


def _listed(mark: str, tokens: "pd.Series[str]", points: float) -> str:
    """The mark and as many tokens as fit; the first is shortened rather than left out."""
    line = mark
    for token in tokens:
        room = points - text_width(f"{line}  ", SMALL)
        limit = min(room, WIDEST) if line == mark else WIDEST
        shown = legible(token, limit=limit, measure=lambda part: text_width(part, SMALL), glyphs=glyphs())
        if text_width(shown, SMALL) > room:
            break
        line += f"  {shown}"
    return line


def _text(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    width, height = figure.get_size_inches()
    options: dict[str, Any] = {"va": "top", "ha": "left", "fontsize": SMALL, "parse_math": False} | style
    figure.text(left / width, 1 - top / height, text, **options)
