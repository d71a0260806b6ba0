"""Heat map of enrichment: which token sets are significant more often with a type than without one."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fsrl.figures.enrichment import SET_KINDS, Evidence
from fsrl.figures.style import DOUBLE, SMALL, TYPE_COLORS, expected, new_figure, styled
from fsrl.hooks import hook_label
from fsrl.names import TYPES, type_label
from fsrl.types.select import scheme_counts

SIDES = ("promoted", "suppressed")
NORM = LogNorm(1e-2, 1e2)  # odds ratios beyond have the colours of its ends
COLORS = colormaps["PuOr_r"]  # diverging, and none of its hues is confused
FULL, HALF = 0.92, 0.46  # sides of a cell's square, with an interval and without
NO_FEATURES = "#EEEEEE"
ROW = 0.125  # inches


@styled()
def heatmap(layers: Sequence[Evidence], kinds: Mapping[str, str], *, scheme: str, title: str) -> Figure:
    """Odds ratio of each set being significant, by type and layer, beside features without a type.

    A dot: the bootstrapped interval excludes 1. A small square: there is no interval, since no untyped
    feature is significant (or all are). Blank: no feature of the type is significant, and a ratio made of the
    correction alone says nothing. Grey: no feature of the type. Sets blank throughout are left out.

    layers: of one study and view; kinds: kind of each set, which groups the rows; scheme: the scheme of the
    types; title: study and view.
    """
    tables = [layer.odds_ratios.assign(layer=number) for number, layer in enumerate(layers)]
    known = pd.concat(tables, ignore_index=True)
    known = known[known["odds_ratio"].notna() & ((known["k_type"] > 0) | known["low"].notna())]
    shown = set(known["set"])
    order = list(SET_KINDS)
    rows = sorted((name for name in kinds if name in shown), key=lambda name: order.index(kinds[name]))
    note = "odds ratio of a set being significant for features of a type against features without one; "
    left_out = f"{len(kinds) - len(rows)} sets that are significant for no typed one are left out"
    note += left_out if rows else f"there is none: none of {len(kinds)} sets is significant for a typed one"
    height = 1.9 + ROW * max(len(rows), 12)
    figure = new_figure(DOUBLE, height, f"{title} · scheme {scheme}\n{note}")
    panels = figure.subplots(1, 2, sharey=True)
    for ax, side in zip(panels, SIDES, strict=True):
        _draw_grid(ax, layers, rows, scheme)
        _draw_cells(ax, known[known["side"] == side], rows, len(layers))
        ax.set_xlabel(f"{side} sets")
    _name_rows(panels[0], panels[1], rows, kinds)
    _draw_bar(figure, panels, height, dotted=bool(_excludes_1(known).any()))
    return figure


def _draw_bar(figure: Figure, panels: np.ndarray, height: float, *, dotted: bool) -> None:
    """The colours' bar below the panels, of the same size whatever the figure's height in inches."""
    where: dict[str, Any] = {"location": "bottom", "fraction": 0.1 / height, "pad": 0.05 / height}
    where |= {"shrink": 0.5, "aspect": 35}
    bar = figure.colorbar(ScalarMappable(NORM, COLORS), ax=panels, extend="both", **where)
    dots = "dot: its 95 % interval excludes 1" if dotted else "no 95 % interval excludes 1"
    bar.set_label(f"odds ratio; {dots}; small square: no interval; grey: no feature of the type")
    bar.set_ticks([0.01, 0.1, 1, 10, 100], labels=["1/100", "1/10", "1", "10", "100"])
    bar.minorticks_off()
    bar.outline.set_linewidth(0.4)


def _draw_grid(ax: Axes, layers: Sequence[Evidence], rows: Sequence[str], scheme: str) -> None:
    """Columns type by type, within them layer by layer; what has no feature is grey, and says so."""
    n, height = len(layers), max(len(rows), 1)
    counts = [scheme_counts(layer.type_counts, scheme) for layer in layers]
    for i, name in enumerate(TYPES):
        features = [int(table["features"].get(name, 0)) for table in counts]
        for number, count in enumerate(features):
            if count == 0:
                corner = (i * n + number - 0.5, -0.5)
                ax.add_patch(Rectangle(corner, 1, height, color=NO_FEATURES, linewidth=0, zorder=0))
        middle = i * n + n / 2 - 0.5
        # In two rows and lines: types beside each other are too wide.
        at: dict[str, Any] = {"xytext": (0, 3 + 9 * (i % 2)), "textcoords": "offset points"}
        at |= {"va": "bottom", "ha": "center"}
        label = type_label(name).replace(" ", "\n")
        ax.annotate(label, (middle, -0.5), fontsize=SMALL, color=TYPE_COLORS[name], **at)
        if not any(features):
            # Of one layer: the null that gives most is another one in the next, and the two do not add up.
            chance = max(float(table["expected_at_bounds"].get(name, 0)) for table in counts)
            text = f"none\n(expected by chance:\nat most {expected(chance)} a hook)"
            ax.text(middle, height / 2 - 0.5, text, rotation=90, ha="center", va="center", fontsize=SMALL)
        if i:
            ax.axvline(i * n - 0.5, color="black", linewidth=0.6)
    step = -(-8 * len(TYPES) * n // 180)  # upright labels of 6 points need 8 of a panel's 180
    # Backwards from a type's last layer, so that the next type's first stays clear of it.
    places = [i * n + number for i in range(len(TYPES)) for number in range(n - 1, step - 2, -step)]
    names = [hook_label(layers[place % n].hook) for place in places]
    ax.set_xticks(places, names, rotation=90, fontsize=SMALL)
    ax.tick_params(length=0)
    ax.set_xlim(-0.5, len(TYPES) * n - 0.5)
    ax.set_ylim(height - 0.5, -0.5)
    ax.spines[:].set_visible(True)


def _draw_cells(ax: Axes, known: pd.DataFrame, rows: Sequence[str], n_layers: int) -> None:
    column = known["type"].map(list(TYPES).index).to_numpy(dtype=int)
    x = column * n_layers + known["layer"].to_numpy(dtype=int)
    y = known["set"].map({name: i for i, name in enumerate(rows)}).to_numpy(dtype=int)
    sized = known["low"].notna().to_numpy()
    sides = np.where(sized, FULL, HALF)
    squares = [Rectangle((a - s / 2, b - s / 2), s, s) for a, b, s in zip(x, y, sides, strict=True)]
    colors = COLORS(NORM(known["odds_ratio"].to_numpy(dtype=float).clip(NORM.vmin, NORM.vmax)))
    ax.add_collection(PatchCollection(squares, facecolors=colors, edgecolors="#777777", linewidths=0.3))
    beyond = _excludes_1(known)
    ax.scatter(x[beyond], y[beyond], s=4, color="black", linewidths=0, zorder=4)


def _excludes_1(known: pd.DataFrame) -> Bool[np.ndarray, "rows"]:
    """Whether each ratio has an interval, and 1 lies outside it."""
    return ((known["low"] > 1) | (known["high"] < 1)).to_numpy()


def _name_rows(left: Axes, right: Axes, rows: Sequence[str], kinds: Mapping[str, str]) -> None:
    """Sets on the left, their kinds on the right, with a line between kinds."""
    left.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows], fontsize=SMALL)
    start = 0
    for kind, group in groupby(rows, key=lambda name: kinds[name]):
        size = len(list(group))
        if start:
            for ax in (left, right):
                ax.axhline(start - 0.5, color="black", linewidth=0.6)
        x, y = right.get_xlim()[1] + 0.6, start + size / 2 - 0.5
        turned = -90 if size > 5 else 0
        right.text(x, y, kind, va="center", ha="left", fontsize=SMALL, rotation=turned)
        start += size
