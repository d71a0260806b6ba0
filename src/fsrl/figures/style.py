"""What all figures share: sizes, one colour per type, labels and wording.

Figures are made without pyplot: `new_figure` gives a bare `Figure`, and the style (paper.mplstyle) holds
inside `styled()` only, so that drawing a figure changes nothing for anybody else.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from fsrl import plain
from fsrl.errors import FsrlError
from fsrl.names import BOUNDING, KINDS, type_label
from fsrl.types.select import values

STYLE = Path(__file__).with_name("paper.mplstyle")
SINGLE, DOUBLE = 3.4, 7.0  # widths in inches: one column of a paper, and two
SMALL = 7.0  # points: no text is smaller
TITLE = 7.0  # points: study, hook and view must fit a single column
RASTER_FROM = 5000  # more points than this in a panel are drawn as pixels, to keep the PDF small
LOG10 = "log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO}"

# Okabe and Ito's palette, told apart under the common colour blindnesses; in the order of precedence.
TYPE_COLORS = {
    "partition": "#009E73",
    "two_sided": "#E69F00",
    "local_context": "#D55E00",
    "prediction": "#0072B2",
    "suppression": "#CC79A7",
    "unclassified": "#C4C4C4",
    "degenerate": "#000000",
}
# Shapes that tell the types apart where colours do not.
TYPE_MARKERS = {
    "partition": "s",
    "two_sided": "D",
    "local_context": "^",
    "prediction": "o",
    "suppression": "v",
    "unclassified": "o",
    "degenerate": "x",
}
NULL_COLOR = "#555555"
NULL_BOUNDS = (0.001, 0.999)
# Each kind of null has a line style of its own in all figures; kinds as in fsrl.names.
NULL_LINES: dict[str, Any] = {
    "isotropic": "-",
    "second_moment": (0, (4, 1.5)),
    "spectrum": (0, (6, 1.2, 1, 1.2)),
    "sign_flip": (0, (1, 1)),
}


@contextmanager
def styled() -> Iterator[None]:
    """The project's style on top of Matplotlib's defaults; works as `with styled():` and as a decorator."""
    with matplotlib.style.context(STYLE, after_reset=True):
        yield


@cache
def _font() -> FT2Font:
    return FT2Font(findfont("DejaVu Sans"))


@cache
def glyphs() -> frozenset[int]:
    """The code points that the figures' font can draw."""
    return frozenset(int(code) for code in _font().get_charmap())


def text_width(text: str, size: float) -> float:
    """Width in points of one line of text set at `size` points."""
    font = _font()
    # Measured large and scaled down: at print size the advances would be rounded to whole pixels.
    font.set_size(1000, 72)
    font.set_text(text)
    return font.get_width_height()[0] / 64 * size / 1000


def wrap(text: str, points: float, size: float) -> str:
    """Break a title into lines of at most `points`: after " · " or a comma, else after a dot, "_" or "/", but
    in no number.
    """
    lines = [""]
    for part in re.split(r"(?<=·\s)|(?<=,\s)|(?<=[._/])(?=\S)(?!(?<=\d\.)\d)", text):
        if lines[-1] and text_width((lines[-1] + part).rstrip(" ·"), size) > points:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip(" ·") for line in lines)


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure of `width` x `height` inches with its title wrapped to the width; nothing overlaps."""
    figure = Figure(figsize=(width, height), layout="constrained")
    # A control character, of a folder's name say, would make an SVG that no reader takes.
    lines = [wrap(line, 72 * width - 8, TITLE) for line in plain.text(title).split("\n")]
    figure.suptitle("\n".join(lines), fontsize=TITLE)
    return figure


def fix_ticks(axis: Axis, ticks: Sequence[float], label: Callable[[float], str]) -> None:
    """Ticks at these places, each with its label, and none between them; after the axis has its scale."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda place, _: label(place)))


def empty_panel(ax: Axes, text: str) -> None:
    """A dashed frame around a text that says why nothing is drawn."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="#999999", linestyle=(0, (3, 2)))
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)


def percent(share: float) -> str:
    """A share as "7.8 %": one decimal from 1 % on, two digits below, so that a null's 0.1 % is visible."""
    value = 100 * share
    return f"{value:.1f} %" if abs(value) >= 1 else f"{value:.2g} %"


def expected(count: float) -> str:
    """A count expected by chance, to one decimal, or two digits where that would hide it; 0 is 0."""
    return f"{count:,.1f}" if count >= 0.1 else f"{count:.2g}"


def count_text(name: str, counts: pd.DataFrame) -> str:
    """A type's count beside the null's: "120 (7.8 %; null at most 0.1 %)".

    Without features it is "none (expected by chance: at most 1.5)". The null's are fresh directions, labelled
    by the layer's own bounds. At most: of the bounding kinds the table has the largest share.

    name: the type; counts: rows of one scheme, from `fsrl.types.select.scheme_counts`.
    """
    row = counts.loc[name]
    if row["features"] == 0:
        return f"none (expected by chance: at most {expected(row['expected_at_bounds'])})"
    chance = row["expected_at_bounds"] / counts["features"].sum()
    return f"{row['features']:,} ({percent(row['share'])}; null at most {percent(chance)})"


def count_label(name: str, counts: pd.DataFrame) -> str:
    """A type with its count beside the null's: "prediction: 120 (7.8 %; null at most 0.1 %)"."""
    return f"{type_label(name)}: {count_text(name, counts)}"


def by_kind(null: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each kind of null, in the order of `fsrl.names.KINDS`.

    Raises FsrlError for a kind that is not known there, since it would have no line style and no name.
    """
    kinds = null["kind"].astype("category")
    unknown = [kind for kind in kinds.cat.categories if kind not in KINDS]
    if unknown:
        raise FsrlError(f"table null: unknown kind {unknown[0]!r}; it must be one of: {', '.join(KINDS)}")
    return {kind: null[kinds == kind] for kind in KINDS if (kinds == kind).any()}


def bounding(null: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """As `by_kind`, of the kinds that bound the types (`fsrl.names.BOUNDING`)."""
    return {kind: rows for kind, rows in by_kind(null).items() if kind in BOUNDING}


def null_quantiles(null: pd.DataFrame, column: str, levels: Sequence[float]) -> Float64[np.ndarray, "levels"]:
    """Quantiles of a null's column; of the kinds that bound the types the most extreme (at 0.5 the middle).

    Raises FsrlError where the null has no finite value in the column.
    """
    known = bounding(null)
    if values(null, column).empty:
        raise FsrlError(f"table null: no finite value in column {column}; rebuild it with more draws")
    kinds = np.array([np.quantile(values(rows, column), levels) for rows in known.values()])
    pick = [np.min if q < 0.5 else np.max if q > 0.5 else np.median for q in levels]
    return np.array([choose(kinds[:, i]) for i, choose in enumerate(pick)])


def population(moments: pd.DataFrame) -> str:
    """How many features a figure shows, and how many of them are dead or have no shape to be drawn."""
    if moments["alive"].isna().all():
        parts = ["density unknown"]
    else:
        dead = int((~moments["alive"].astype("boolean")).sum())
        parts = [f"{dead:,} dead among them" if dead else "none dead"]
    flat = int(moments["kurtosis"].isna().sum())
    parts += [f"{flat:,} degenerate left out"] if flat else []
    return f"{len(moments):,} features ({', '.join(parts)})"
