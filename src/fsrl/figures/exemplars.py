"""Figure of the best exemplars of each type: the distribution of their logit weights and extreme tokens.

Laid out by hand in inches from the top left corner, because the lines of tokens need a fixed grid.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fsrl.figures.style import (
    DOUBLE,
    NULL_COLOR,
    SMALL,
    TITLE,
    TYPE_COLORS,
    count_label,
    count_text,
    empty_panel,
    glyphs,
    new_figure,
    percent,
    population,
    styled,
    text_width,
)
from fsrl.names import TYPES, type_label
from fsrl.tokens.text import legible
from fsrl.types.select import by_evidence, scheme_counts, typed

EDGES = 8.0  # the histogram's range: mean ± 8 std, as in the table histograms
LEFT, GAP, RIGHT = 0.42, 0.22, 0.06  # inches: margin of the page, between panels, margin
HEADER, CAPTION, PANEL, TICKS, LINE, SPACE = 0.19, 0.34, 0.38, 0.19, 0.112, 0.08  # inches, from top to bottom
LEGEND = "dashed: Gaussian of the same mean and std; hatched bars: tokens beyond mean ± 8 std"
RANKED = "by evidence (1: the nulls' 0.999 quantile), first those that fire on less than 10 % of tokens"
NONE = 0.3  # inches: height of an empty type's panel


@styled()
def exemplars(
    moments: pd.DataFrame,
    types: pd.DataFrame,
    type_counts: pd.DataFrame,
    extremes: pd.DataFrame,
    histograms: pd.DataFrame,
    *,
    scheme: str,
    title: str,
    per_type: int = 3,
    n_tokens: int = 3,
) -> Figure:
    """For each type its exemplars of largest evidence: their distribution and their top and bottom tokens.

    Features that fire on less than a tenth of the tokens come first (`fsrl.types.select.by_evidence`).
    Evidence is 1 at the 0.999 quantile of the bounding nulls. A type without members gets a panel that says
    so, with the chance expectation.

    moments, types, type_counts, extremes, histograms: tables of one layer and view; scheme: the scheme whose
    types are shown; title: study, hook and view; per_type: exemplars per type, side by side; n_tokens: tokens
    listed on each side, fewer where the table holds fewer.
    """
    counts = scheme_counts(type_counts, scheme)
    labelled = typed(moments, types, scheme)
    best = {name: _best(labelled, name, per_type) for name in TYPES if name in counts.index}
    full = HEADER + CAPTION + PANEL + TICKS + (n_tokens + 1) * LINE + SPACE
    heights = [HEADER + NONE + SPACE if rows.empty else full for rows in best.values()]
    note = f"{population(moments)}; {RANKED}"
    figure, top = _page(sum(heights), f"{title} · scheme {scheme}\n{note}\n{LEGEND}")
    shown = extremes[extremes["rank"] < n_tokens]
    tables = {"histograms": histograms.set_index("feature"), "extremes": shown}
    for (name, rows), height in zip(best.items(), heights, strict=True):
        if rows.empty:
            _draw_none(figure, top, name, counts)
        else:
            _draw_row(figure, top, name, counts, rows, tables, per_type)
        top += height
    return figure


def _page(height: float, title: str) -> tuple[Figure, float]:
    """A page with this much room below its title, and where that room begins; in inches from the top."""
    figure = new_figure(DOUBLE, height, title)
    top = 0.12 * (figure.get_suptitle().count("\n") + 1) + 0.1
    figure.set_size_inches(DOUBLE, top + height)
    figure.set_layout_engine("none")
    figure.suptitle(figure.get_suptitle(), fontsize=TITLE, y=1 - 0.03 / figure.get_figheight(), va="top")
    return figure, top


def _best(labelled: pd.DataFrame, name: str, per_type: int) -> pd.DataFrame:
    return by_evidence(labelled[labelled["type"] == name]).head(per_type)


def _draw_header(figure: Figure, top: float, name: str, label: str) -> None:
    color = TYPE_COLORS[name]
    red, green, blue = to_rgb(color)
    ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
    box = {"facecolor": color, "edgecolor": "none", "pad": 1.8}
    _text(figure, LEFT, top, label, fontsize=7, color=ink, bbox=box)


def _draw_none(figure: Figure, top: float, name: str, counts: pd.DataFrame) -> None:
    """The panel of a type without members."""
    _draw_header(figure, top, name, type_label(name))
    ax = _axes(figure, LEFT, top + HEADER, DOUBLE - LEFT - RIGHT, NONE)
    empty_panel(ax, count_text(name, counts))


def _draw_row(
    figure: Figure,
    top: float,
    name: str,
    counts: pd.DataFrame,
    best: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    per_type: int,
) -> None:
    """One type: a header in its colour with its counts, then its exemplars side by side."""
    _draw_header(figure, top, name, count_label(name, counts))
    width = (DOUBLE - LEFT - RIGHT - GAP * (per_type - 1)) / per_type
    for column, (_, row) in enumerate(best.iterrows()):
        left = LEFT + column * (width + GAP)
        for i, line in enumerate(caption(row)):
            _text(figure, left, top + HEADER + i * 0.108, line)
        ax = _axes(figure, left, top + HEADER + CAPTION, width, PANEL)
        histogram = tables["histograms"].loc[row["feature"]]
        _draw_distribution(ax, histogram, row["mean"], row["std"], TYPE_COLORS[name])
        if column == 0:
            ax.set_ylabel("tokens")
        else:
            ax.tick_params(labelleft=False)
        extremes = tables["extremes"][tables["extremes"]["feature"] == row["feature"]]
        _draw_tokens(figure, left, top + HEADER + CAPTION + PANEL + TICKS, width, extremes)


def caption(row: pd.Series) -> tuple[str, str, str]:
    """The lines above an exemplar: its number and evidence, its moments, how often it fires."""
    if pd.isna(row["log10_density"]):
        fires = "firing rate unknown"
    elif not row["alive"]:
        fires = "dead"
    else:
        fires = f"fires on {percent(10 ** row['log10_density'])} of tokens"
    skewness = f"{row['skewness']:.2f}".replace("-", "\N{MINUS SIGN}")
    return (
        f"feature {row['feature']} · evidence {row['evidence']:.2g}",
        f"skewness {skewness} · kurtosis {row['kurtosis']:.1f} · std {row['std']:.3g}",
        fires,
    )


def _draw_tokens(figure: Figure, left: float, top: float, width: float, extremes: pd.DataFrame) -> None:
    """The lowest tokens on the left and the highest on the right, most extreme first."""
    half = (width - 0.14) / 2
    # Three digits of the largest weight, and as many decimals for all.
    decimals = max(0, 2 - int(np.floor(np.log10(extremes["weight"].abs().max()))))
    for side, heading, x in (("bottom", "lowest", left), ("top", "highest", left + half + 0.14)):
        _text(figure, x, top, heading, color="#666666", style="italic")
        rows = extremes[extremes["side"] == side].sort_values("rank")
        for i, (token, weight) in enumerate(zip(rows["token"], rows["weight"], strict=True), 1):
            number = f"{weight:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")
            _draw_token(figure, x, top + i * LINE, half, token, number)


def _draw_token(figure: Figure, x: float, y: float, width: float, token: str, number: str) -> None:
    """A token on the left of its column, shortened to what its weight on the right leaves free."""
    room = 72 * width - text_width(number, SMALL) - 4
    text = legible(token, limit=room, measure=lambda part: text_width(part, SMALL), glyphs=glyphs())
    _text(figure, x, y, text)
    _text(figure, x + width, y, number, ha="right", color="#444444")


def _draw_distribution(ax: Axes, row: pd.Series, mean: float, std: float, color: str) -> None:
    """Token counts in equal bins of mean ± 8 std (log axis), and what lies beyond as a bar at either end."""
    counts = np.asarray(row["counts"], dtype=float)
    edges = mean + std * np.linspace(-EDGES, EDGES, len(counts) + 1)
    ax.stairs(counts, edges, fill=True, color=color, baseline=0.5)
    centres = (edges[1:] + edges[:-1]) / 2
    total = counts.sum() + row["underflow"] + row["overflow"]
    z = (centres - mean) / std
    bell = total * (2 * EDGES / len(counts)) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    ax.plot(centres, bell, color=NULL_COLOR, linewidth=0.7, linestyle=(0, (3, 2)))
    for beyond, place in ((row["underflow"], -EDGES - 0.8), (row["overflow"], EDGES + 0.8)):
        if beyond:
            bar: dict[str, Any] = {"color": color, "edgecolor": "black", "hatch": "////", "linewidth": 0.4}
            ax.bar(mean + std * place, beyond - 0.5, width=std, bottom=0.5, **bar)
            ax.text(mean + std * place, beyond * 1.3, f"{beyond:,}", ha="center", va="bottom", fontsize=SMALL)
    ax.set(yscale="log", xlim=(mean - 9.6 * std, mean + 9.6 * std), ylim=(0.5, 3 * total))
    ax.yaxis.set_major_locator(LogLocator(base=100))
    ax.yaxis.set_major_formatter(lambda tick, _: f"{tick:,.0f}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    page_width, page_height = figure.get_size_inches()
    bottom = (page_height - top - height) / page_height
    return figure.add_axes((left / page_width, bottom, width / page_width, height / page_height))


def _text(figure: Figure, left: float, top: float, text: str, **style: Any) -> Text:
    page_width, page_height = figure.get_size_inches()
    options: dict[str, Any] = {"va": "top", "ha": "left", "fontsize": SMALL, "parse_math": False} | style
    return figure.text(left / page_width, 1 - top / page_height, text, **options)
