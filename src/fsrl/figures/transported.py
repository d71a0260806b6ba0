"""Figures of what the later blocks make of logit weights on average: moments and top tokens.

Tables in, a Matplotlib Figure out; nothing is read or saved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from fsrl import plain
from fsrl.effects.names import ACTIVE, DIRECT, FEATURE, TRANSPORTED
from fsrl.figures.effects import PREDICTED
from fsrl.figures.style import (
    DOUBLE,
    NULL_COLOR,
    SMALL,
    TITLE,
    fix_ticks,
    glyphs,
    new_figure,
    styled,
    text_width,
)
from fsrl.hooks import hook_label
from fsrl.names import SHARED
from fsrl.tokens.text import ELLIPSIS, legible

NAMES = {DIRECT: "direct", TRANSPORTED: "transported"}
# Quantiles of the features: the ends of the thin bar, of the thick one, and the dot.
BARS = (0.005, 0.05, 0.5, 0.95, 0.995)
_DECADES = [digit * 10.0**power for power in range(-4, 5) for digit in (1, 2, 5)]
TICKS = {
    "skewness": [*(-tick for tick in reversed(_DECADES[11:])), 0.0, *_DECADES[11:]],
    "kurtosis": [2.0, 3.0, 4.0, 6.0, *_DECADES[15:]],
    "std": _DECADES,
}
FEATURES, TOKENS = 10, 5  # rows of the figure of tokens, and tokens in each of its lists
LEFT, LINE, BLOCK = 0.06, 0.115, 0.33  # inches: margin, between lines, between features
COLUMNS = {"feature": 0.0, "text": 0.62, DIRECT: 2.95, TRANSPORTED: 4.95}  # inches from the margin
RIGHT_END = DOUBLE - LEFT


@dataclass(frozen=True, eq=False)
class Layer:
    """Tables of one layer. moments, extremes, quantiles (of nulls): by DIRECT and TRANSPORTED; agreement:
    table `effect_agreement`; contexts: table `effect_peaks`.
    """

    moments: Mapping[str, pd.DataFrame]
    extremes: Mapping[str, pd.DataFrame]
    quantiles: Mapping[str, pd.DataFrame]
    agreement: pd.DataFrame
    contexts: pd.DataFrame


@styled()
def moments(layers: Mapping[str, Layer], *, title: str) -> Figure:
    """Skewness, kurtosis and std of all features' logit weights by hook, on the direct path and transported.

    Thin bars hold 99 % of the features, thick ones 90 %, dots are medians; dashes are the 0.001 and 0.999
    quantiles of isotropic directions in the same view.
    """
    saes = list(layers)
    figure = new_figure(DOUBLE, 4.4, f"{title}\nbars: 99 and 90 % of the features, and their median")
    grid = figure.subplots(3, 1, sharex=True)
    panels = (("skewness", "right"), ("kurtosis", "heavy"), ("std", None))
    for ax, (column, tail) in zip(grid, panels, strict=True):
        for prediction, shift in ((DIRECT, -0.14), (TRANSPORTED, 0.14)):
            for place, layer in enumerate(layers.values()):
                values = layer.moments[prediction][column].dropna()
                _bar(ax, place + shift, values, PREDICTED[prediction][1])
                if tail is not None:
                    _null(ax, place + shift, layer.quantiles[prediction], tail)
        ax.set_ylabel(column if column != "std" else "std\n(logit per activation)")
        if column == "skewness":
            ax.set_yscale("symlog", linthresh=1)
            ax.axhline(0, color=NULL_COLOR, linewidth=0.4, zorder=0)
        else:
            ax.set_yscale("log")
        low, high = ax.get_ylim()
        fix_ticks(ax.yaxis, [tick for tick in TICKS[column] if low <= tick <= high], _number)
    grid[-1].set_xticks(range(len(saes)), [hook_label(sae) for sae in saes])
    handles = [Line2D([], [], color=PREDICTED[name][1], linewidth=2, label=NAMES[name]) for name in NAMES]
    label = "0.001 and 0.999 quantile of isotropic directions"
    handles.append(Line2D([], [], color=NULL_COLOR, linestyle="", marker="_", label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _number(tick: float) -> str:
    return f"{tick:,g}".replace("-", "\N{MINUS SIGN}")


def _bar(ax: Axes, place: float, values: pd.Series, color: str) -> None:
    if values.empty:
        return
    low, inner_low, middle, inner_high, high = np.quantile(values, BARS)
    ax.plot([place, place], [low, high], color=color, linewidth=0.7)
    ax.plot([place, place], [inner_low, inner_high], color=color, linewidth=2.4, solid_capstyle="butt")
    ax.plot([place], [middle], color="white", marker="o", markersize=2, markeredgewidth=0)


def _null(ax: Axes, place: float, quantiles: pd.DataFrame, tail: str) -> None:
    """The far ends of isotropic directions: of skewness at either side, of kurtosis above and below."""
    of = quantiles[quantiles["kind"] == SHARED].drop_duplicates("tail").set_index("tail")["extreme"]
    ends = (of["right"], -of["right"]) if tail == "right" else (of["heavy"], -of["flat"])
    style: dict[str, Any] = {"color": NULL_COLOR, "linestyle": "", "marker": "_", "markersize": 7}
    ax.plot([place, place], ends, **style, markeredgewidth=0.7)


def chosen(layers: Mapping[str, Layer], n: int = FEATURES) -> list[tuple[str, int]]:
    """SAE and number of n features that are active in the text: hook by hook in turns, of the sample those
    with the largest kurtosis of their transported logit weights; in the order of the hooks.
    """
    ranked: dict[str, list[int]] = {}
    for sae, layer in layers.items():
        rows = _own(layer.agreement)
        sampled = rows.loc[rows["prediction"] == TRANSPORTED, "feature"]
        known = layer.moments[TRANSPORTED].set_index("feature")["kurtosis"].dropna()
        known = known[known.index.isin(sampled) & known.index.isin(layer.contexts["feature"])]
        ranked[sae] = known.sort_values(ascending=False, kind="stable").index.tolist()
    turns = [(sae, ranked[sae][turn]) for turn in range(n) for sae in layers if turn < len(ranked[sae])]
    return sorted(turns[:n], key=lambda pair: list(layers).index(pair[0]))


def _own(agreement: pd.DataFrame) -> pd.DataFrame:
    """Rows of the features themselves where they are active, one unit added."""
    wanted = {"direction": FEATURE, "state": ACTIVE, "step": "+1"}
    return agreement[np.logical_and.reduce([agreement[key] == value for key, value in wanted.items()])]


@styled()
def tokens(layers: Mapping[str, Layer], *, title: str) -> Figure:
    """Ten features (see `chosen`): where each is most active, the tokens that its logit weights raise most on
    the direct path and transported, and how either correlates with the measured change.
    """
    features = chosen(layers)
    note = "r: correlation of the measured change of the logits with the weights, where the feature is active"
    figure = new_figure(DOUBLE, 1.0, f"{title}\n{note}")
    top = 0.12 * (figure.get_suptitle().count("\n") + 1) + 0.12
    height = top + 0.2 + BLOCK * max(1, len(features))
    figure.set_size_inches(DOUBLE, height)
    figure.set_layout_engine("none")
    figure.suptitle(figure.get_suptitle(), fontsize=TITLE, y=1 - 0.03 / height, va="top")
    heads = {"feature": "feature", "text": "where it is most active"}
    heads |= {name: f"{NAMES[name]}: r, tokens raised most" for name in NAMES}
    for name, head in heads.items():
        _text(figure, LEFT + COLUMNS[name], top, head, style="italic", color="#666666")
    for i, (sae, feature) in enumerate(features):
        _draw_feature(figure, top + 0.17 + i * BLOCK, sae, feature, layers[sae])
    return figure


def _draw_feature(figure: Figure, top: float, sae: str, feature: int, layer: Layer) -> None:
    _text(figure, LEFT, top, hook_label(sae))
    _text(figure, LEFT, top + LINE, f"{feature}")
    context = layer.contexts.set_index("feature").loc[feature]
    _draw_context(figure, top, context)
    rows = _own(layer.agreement)
    r = rows[rows["feature"] == feature].set_index("prediction")["pearson"]
    for name in NAMES:
        left, color = LEFT + COLUMNS[name], PREDICTED[name][1]
        _text(figure, left, top, f"{r[name]:.2f}".replace("-", "\N{MINUS SIGN}"), color=color, weight="bold")
        of = layer.extremes[name]
        of = of[(of["feature"] == feature) & (of["side"] == "top")].sort_values("rank").head(TOKENS)
        end = LEFT + COLUMNS[TRANSPORTED] - 0.1 if name == DIRECT else RIGHT_END
        _draw_tokens(figure, left + 0.37, top, end, of["token"].tolist())


def _draw_tokens(figure: Figure, left: float, top: float, end: float, names: Sequence[str]) -> None:
    """Tokens, as many on a line as there is room for, on two lines."""
    x, y = left, top
    for name in names:
        text = legible(name, limit=40, measure=lambda part: text_width(part, SMALL), glyphs=glyphs())
        width = (text_width(text, SMALL) + 6) / 72
        if x + width > end and x > left:
            x, y = left, y + LINE
            if y > top + LINE:
                return
        box = {"facecolor": "#EEEEEE", "edgecolor": "none", "pad": 0.6}
        _text(figure, x, y, text, bbox=box)
        x += width


def _draw_context(figure: Figure, top: float, context: pd.Series) -> None:
    """Two lines: the text up to the token, which is bold, and what follows it."""
    room = 72 * (COLUMNS[DIRECT] - COLUMNS["text"] - 0.12)
    left = LEFT + COLUMNS["text"]
    token = _shortened(printed(context["token"]), room / 2, from_end=False)
    # Bold letters are wider than what is measured.
    width = 1.15 * text_width(token, SMALL)
    before = _shortened(printed(context["before"]).lstrip(), room - width, from_end=True)
    _text(figure, left, top, before)
    _text(figure, left + text_width(before, SMALL) / 72, top, token, weight="bold")
    _text(figure, left, top + LINE, _shortened(printed(context["after"]).lstrip(), room, from_end=False))


def printed(text: str) -> str:
    """A text on one line: line breaks as arrows, what the font lacks and what is invisible by its number."""
    text = "".join("\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}" if char == "\n" else char for char in text)
    return "".join(char if ord(char) in glyphs() else f"<U+{ord(char):04X}>" for char in plain.text(text))


def _shortened(text: str, room: float, *, from_end: bool) -> str:
    """As much of a text as there is room for (points): its end or its beginning."""
    if text_width(text, SMALL) <= room:
        return text
    while text and text_width(ELLIPSIS + text, SMALL) > room:
        text = text[1:] if from_end else text[:-1]
    return ELLIPSIS + text if from_end else text + ELLIPSIS


def _text(figure: Figure, left: float, top: float, text: str, **style: Any) -> Text:
    width, height = figure.get_size_inches()
    options: dict[str, Any] = {"va": "top", "ha": "left", "fontsize": SMALL, "parse_math": False} | style
    return figure.text(left / width, 1 - top / height, text, **options)
