"""Figures of a study's enrichment: which token sets its features promote, and that the test of it is honest.

Tables in as `fsrl.tables.enrichment` has them. Sets have a kind (`fsrl.tokens.sets.KINDS`): one colour and
one marker each, none of them a type's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsrl.figures.style import (
    DOUBLE,
    LOG10,
    SMALL,
    fix_ticks,
    new_figure,
    percent,
    styled,
    text_width,
)
from fsrl.hooks import hook_label

SET_KINDS = {
    "surface": ("#332288", "o"),
    "lexical": ("#999933", "^"),
    "frequency": ("#56B4E9", "s"),
    "user": ("#882255", "D"),
}
CUT: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": (0, (4, 2))}
TICKS = (0, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
TESTS = {
    "": ("#332288", "own null"),
    "_t": ("#CC6677", "t as Student's"),
    "_z": ("#E69F00", "textbook z"),
}
# Where nothing is to be found: columns of `discoveries`.
NOTHING = {"shuffled": "sets", "turned": "decoders"}
WIDTH = 4.0  # -log10 p up to which the axis is about linear
PANEL = (440, 85)  # points, never more: the panel's width, and its height from zero to a limit
LINE = 8  # points from one line of names to the next
DOT = 2  # half the width of a significant set's point, in points
QQ_POINTS = 400  # of each curve, equally spaced on the logarithmic axis


# Features and the heights of their sets in `manhattan`.
Points = Float64[np.ndarray, "points 2"]


class Name(NamedTuple):
    """What is written beside a point of `manhattan`."""

    text: str
    place: float
    height: float
    after: bool
    """Whether it begins at the point, or ends there."""


class Evidence(NamedTuple):
    """The enrichment of one SAE in one view."""

    hook: str
    """The SAE's id."""
    best_sets: pd.DataFrame
    odds_ratios: pd.DataFrame
    type_counts: pd.DataFrame


@styled()
def manhattan(
    layers: Sequence[Evidence], discoveries: pd.DataFrame, kinds: Mapping[str, str], *, title: str
) -> Figure:
    """-log10 p of each feature's best set, upwards if it is promoted, downwards if it is suppressed.

    Layers stand side by side and features in their order within them. The dashed lines are Benjamini and
    Hochberg's cut; the strongest set of each layer and side is named if it is significant.

    layers: of one study and view; discoveries: their table discoveries, with the cut; kinds: kind of each
    set, from `fsrl.tokens.sets.describe`; title: study and view.
    """
    cut = float(discoveries["log10_p_cut"].iloc[0])
    figure = new_figure(DOUBLE, 3.6, f"{title}\nbest set of each feature; {_found(discoveries)}")
    ax = figure.add_subplot()
    # Names of many layers stand in several lines.
    limit = _signed_axis(ax, max(_highest(layer.best_sets) for layer in layers), 1.12 + 0.012 * len(layers))
    start, centres = 0, []
    names: dict[int, list[Name]] = {1: [], -1: []}
    strong: dict[int, list[Points]] = {1: [], -1: []}
    for number, layer in enumerate(layers):
        n = len(layer.best_sets)
        if number % 2:
            ax.axvspan(start, start + n, color="#F2F2F2", linewidth=0, zorder=0)
        for side, sign in (("promoted", 1), ("suppressed", -1)):
            named, points = _draw_side(ax, layer.best_sets, start, kinds, side, sign, -cut)
            names[sign] += named
            strong[sign].append(points)
        centres.append(start + n / 2)
        start += n
    if np.isfinite(cut):
        for sign in (1, -1):
            ax.axhline(-sign * cut, **CUT)
    ax.set_xlim(0, start)
    for sign, found in names.items():
        _write_names(ax, found, np.concatenate(strong[sign]), sign, start, limit)
    hooks = [hook_label(layer.hook) for layer in layers]
    ax.set_xticks(centres, hooks, rotation=90 if len(layers) > 9 else 0)
    ax.tick_params(axis="x", length=0)
    figure.legend(handles=_set_handles(kinds, cut), loc="outside lower center", ncols=5)
    return figure


def _set_handles(kinds: Mapping[str, str], cut: float) -> list[Line2D]:
    """Legend entries of the kinds of sets that there are, and of the cut."""
    handles = [
        Line2D([], [], linestyle="", marker=marker, markersize=3.5, color=color, label=f"{kind} set")
        for kind, (color, marker) in SET_KINDS.items()
        if kind in set(kinds.values())
    ]
    label = f"significant beyond {-cut:.1f}" if np.isfinite(cut) else "nothing is significant"
    handles.append(Line2D([], [], **CUT, label=label))
    return handles


def _found(discoveries: pd.DataFrame) -> str:
    level = discoveries["level"].iloc[0]
    found = int((discoveries["promoted"] + discoveries["suppressed"]).sum())
    pairs = f"{found:,} of {discoveries['tests'].sum():,} pairs of feature and set"
    note = f"{pairs} are significant at a false discovery rate of {100 * level:g} %"
    by_chance = [f"{discoveries[kind].sum():.1f} with {kind} {what}" for kind, what in NOTHING.items()]
    return f"{note} ({', '.join(by_chance)})"


def _signed_axis(ax: Axes, highest: float, room: float) -> float:
    """Zero in the middle, sizes in both directions up to the limit returned, `room` times the highest."""
    ax.set_yscale("asinh", linear_width=WIDTH)
    limit = float(np.sinh(room * np.arcsinh(max(highest, 5.0) / WIDTH)) * WIDTH)
    ax.set_ylim(-limit, limit)
    ticks = [tick for tick in TICKS if tick <= limit]
    fix_ticks(ax.yaxis, [*(-tick for tick in ticks[1:]), *ticks], lambda y: f"{abs(y):g}")
    ax.set_ylabel(f"suppressed   \N{MINUS SIGN}{LOG10} p (asinh scale)   promoted")
    ax.axhline(0, color="black", linewidth=0.6)
    return limit


def _highest(best: pd.DataFrame) -> float:
    return float(-best[["promoted_log10_p", "suppressed_log10_p"]].min().min())


def _draw_side(
    ax: Axes, best: pd.DataFrame, start: int, kinds: Mapping[str, str], side: str, sign: int, cut: float
) -> tuple[list[Name], Points]:
    """The points of a layer's features; what is to be written at the strongest, if it is significant, and all
    the significant ones.
    """
    rows = best.dropna(subset=[f"{side}_log10_p"])
    height = -rows[f"{side}_log10_p"].to_numpy(dtype=float)
    kind = rows[side].map(dict(kinds))
    place = start + np.flatnonzero(best[f"{side}_log10_p"].notna().to_numpy()) + 0.5
    for name, (color, marker) in SET_KINDS.items():
        ours = (kind == name).to_numpy()
        strong = height >= cut
        style: dict[str, Any] = {
            "marker": marker,
            "color": color,
            "linewidths": 0,
            "rasterized": len(best) > 1000,
        }
        ax.scatter(place[ours & ~strong], sign * height[ours & ~strong], s=1.5, alpha=0.35, **style)
        ax.scatter(place[ours & strong], sign * height[ours & strong], s=7, zorder=3, **style)
    if not (len(height) and height.max() >= cut):  # a cut that is NaN is met by nothing
        return [], np.empty((0, 2))
    i = int(height.argmax())
    # Towards the middle of the layer, away from the names of its neighbours.
    after = bool(place[i] < start + len(best) / 2)
    best_one = Name(str(rows[side].iloc[i]).replace("_", " "), float(place[i]), float(height[i]), after)
    return [best_one], np.column_stack([place, height])[height >= cut]


def _write_names(
    ax: Axes, names: Sequence[Name], points: Points, sign: int, features: int, limit: float
) -> None:
    """Each name at its point, clear of other names and, where there is room, of the significant points."""
    scale = np.array([PANEL[0] / features, PANEL[1] / np.arcsinh(limit / WIDTH)])
    dots = np.column_stack([points[:, 0], np.arcsinh(points[:, 1] / WIDTH)]) * scale
    taken: list[tuple[float, float, float]] = []
    for name in sorted(names, key=lambda name: name.height):
        x, base = scale * (name.place, np.arcsinh(name.height / WIDTH))
        width = text_width(name.text, SMALL) + 4
        up, after = _clear(x, base, width, name.after, taken, dots)
        left = x if after else x - width
        taken.append((left, left + width, base + up))
        at: dict[str, Any] = {"xytext": (0, sign * up), "textcoords": "offset points", "fontsize": SMALL}
        at |= {"ha": "left" if after else "right", "va": "bottom" if sign > 0 else "top"}
        ax.annotate(name.text, (name.place, sign * name.height), **at)


def _clear(
    x: float,
    base: float,
    width: float,
    after: bool,
    taken: Sequence[tuple[float, float, float]],
    dots: Points,
) -> tuple[int, bool]:
    """How far from its point a name goes, and whether it begins there: on no name that is written (taken:
    left, right, height) and on no dot, or on no name alone where the panel has no such place. In points.
    """
    sides = [side for side in (after, not after) if (x + width < PANEL[0] if side else x >= width)]
    # Past so many lines there is no name.
    furthest = 3 + 2 * LINE * len(taken)
    for avoided, highest in ((dots, int(PANEL[1] - base) - LINE), (dots[:0], furthest)):
        for up in range(3, highest + 1):
            for side in sides or [True]:
                left, y = (x if side else x - width), base + up
                beside = np.abs(avoided[:, 0] - left - width / 2) < width / 2 + DOT
                if (beside & (y - DOT < avoided[:, 1]) & (avoided[:, 1] < y + LINE)).any():
                    continue
                if not any(left < b and a < left + width and abs(y - other) < LINE for a, b, other in taken):
                    return up, side
    raise AssertionError("names are finitely many")


# Kinds of nothing, of the table `null_p_values`.
NULL_TESTS = {
    "turned": "real sets, decoders turned at random",
    "shuffled": "sets of shuffled tokens, real decoders",
}


@styled()
def qq(p_values: pd.DataFrame, *, title: str) -> Figure:
    """Observed against expected p of three tests where there is nothing to find, both as -log10.

    A panel for decoders turned at random and one for shuffled sets. An honest test lies on the diagonal, or
    below it. The legends have the share of tests below p = 0.05. p_values: the table `null_p_values`; title:
    study and view.
    """
    layers = p_values["sae"].nunique()
    rows = len(p_values[["sae", "feature"]].drop_duplicates())
    note = f"{rows:,} features of {layers} layers, {p_values['set'].nunique()} token sets"
    figure = new_figure(DOUBLE, 2.9, f"{title}\n{note}")
    for ax, (kind, label) in zip(figure.subplots(1, 2), NULL_TESTS.items(), strict=True):
        draw_qq(ax, p_values[p_values["kind"] == kind])
        ax.set_title(label, loc="left")
    return figure


def draw_qq(ax: Axes, p_values: pd.DataFrame) -> None:
    """Curves of three tests in one panel, each labelled with its share below p = 0.05.

    ax: an empty panel; p_values: rows of one kind of the table `null_p_values`.
    """
    end = 0.0
    for test, (color, label) in TESTS.items():
        observed = np.sort(p_values[f"log10_p{test}"].to_numpy())
        observed = observed[~np.isnan(observed)]
        n = len(observed)
        rank = np.unique(np.geomspace(1, n, QQ_POINTS).round().astype(int)) - 1
        expected = -np.log10((rank + 0.5) / n)
        share = percent(float((observed < np.log10(0.05)).mean()))
        ax.plot(expected, -observed[rank], color=color, linewidth=1.2, label=f"{label}: {share}")
        end = max(end, expected.max())
    diagonal = np.linspace(0, end, 200)  # no straight line on this scale
    style: dict[str, Any] = {"color": "#888888", "linewidth": 0.9, "linestyle": "--", "zorder": 3}
    ax.plot(diagonal, diagonal, **style, label="uniform: 5 % below .05")
    ax.set_yscale("asinh", linear_width=WIDTH)
    ax.set_xlim(0, 1.03 * end)
    # Room for the legend above the curves, on this scale.
    top = float(WIDTH * np.sinh(1.45 * np.arcsinh(ax.get_ylim()[1] / WIDTH)))
    ax.set_ylim(0, top)
    fix_ticks(ax.yaxis, [tick for tick in TICKS if tick <= top], "{:g}".format)
    ax.set_xlabel(f"expected \N{MINUS SIGN}{LOG10} p")
    ax.set_ylabel(f"observed \N{MINUS SIGN}{LOG10} p (asinh scale)")
    tight = {"handlelength": 1.2, "borderpad": 0, "labelspacing": 0.25}
    ax.legend(loc="upper left", **tight).set_in_layout(False)
