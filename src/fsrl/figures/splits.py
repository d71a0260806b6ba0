"""Figure of the best exemplar of each type, its logit weights split by the token set it is aligned with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fsrl.figures.style import (
    DOUBLE,
    NULL_COLOR,
    SMALL,
    TYPE_COLORS,
    count_label,
    count_text,
    empty_panel,
    glyphs,
    new_figure,
    styled,
    text_width,
)
from fsrl.names import TYPES, type_label
from fsrl.tokens.text import legible
from fsrl.types.select import scheme_counts

BINS = 60
SHOWN_TOKENS = 4


class Split(NamedTuple):
    """One feature and its best set."""

    type: str
    feature: int
    set: str
    side: str
    """promoted or suppressed"""
    log10_q: float
    weights: np.ndarray
    """Logit weights, float [n_tokens]."""
    inside: np.ndarray
    """Which tokens are of the set, bool [n_tokens]."""
    tokens: Sequence[str]
    """Tokens as stored, [n_tokens]."""


def best_exemplars(
    types: pd.DataFrame, best_sets: pd.DataFrame, *, scheme: str
) -> dict[str, tuple[int, str, str, float]]:
    """Each type's feature with the smallest q: (feature, set, side, log10 q); ties go to the lower feature.

    Types without a feature that has a tested set are left out.

    Args:
        types, best_sets: tables of one layer and view.
        scheme: the scheme of the labels.
    """
    labels = types.loc[types["scheme"] == scheme, ["feature", "type"]]
    merged = best_sets.merge(labels, on="feature", validate="1:1")
    sides = []
    for side in ("promoted", "suppressed"):
        part = merged[["feature", "type", side, f"{side}_log10_q"]].dropna()
        sides.append(part.set_axis(["feature", "type", "set", "q"], axis=1).assign(side=side))
    ranked = pd.concat(sides).sort_values(["q", "feature"], kind="stable").drop_duplicates("type")
    return {
        str(row.type): (int(row.feature), str(row.set), str(row.side), float(row.q))
        for row in ranked.itertuples(index=False)
        if row.type in TYPES
    }


@styled()
def splits(found: Sequence[Split], type_counts: pd.DataFrame, *, scheme: str, title: str) -> Figure:
    """Logit weights of the set's tokens against all others', for the best exemplar of each type.

    Both histograms have area 1, so that a set of a few tokens can be seen beside the vocabulary.

    Args:
        found: at most one per type.
        type_counts: of the same layer and view.
        scheme: the scheme of the types.
        title: study, hook and view.
    """
    counts = scheme_counts(type_counts, scheme)
    by_type = {split.type: split for split in found}
    note = "best exemplar of each type, split by its best token set; each histogram has area 1"
    figure = new_figure(DOUBLE, 4.3, f"{title} · scheme {scheme}\n{note}")
    names = [name for name in TYPES if name in counts.index]
    panels = figure.subplots(2, 2).flat
    for ax, name in zip(panels, names, strict=False):
        ax.set_title(count_label(name, counts), color=TYPE_COLORS[name])
        if name in by_type:
            _draw_split(ax, by_type[name])
        else:
            empty = counts.loc[name, "features"] == 0
            empty_panel(ax, count_text(name, counts) if empty else "no token set could be tested")
            ax.set_title(type_label(name), color=TYPE_COLORS[name])
    for ax in figure.axes[len(names) :]:
        ax.set_axis_off()
    return figure


def _draw_split(ax: Axes, split: Split) -> None:
    weights, inside = np.asarray(split.weights, dtype=float), np.asarray(split.inside, dtype=bool)
    edges = np.linspace(weights.min(), weights.max(), BINS + 1)
    others = np.histogram(weights[~inside], edges, density=True)[0]
    members = np.histogram(weights[inside], edges, density=True)[0]
    ax.stairs(others, edges, fill=True, color="#D0D0D0", label=f"other tokens ({(~inside).sum():,})")
    label = f"{split.set.replace('_', ' ')} ({inside.sum():,})"
    ax.stairs(members, edges, color=TYPE_COLORS[split.type], linewidth=1.2, label=label)
    for part, color in ((~inside, NULL_COLOR), (inside, TYPE_COLORS[split.type])):
        ax.axvline(weights[part].mean(), ymax=1 / 1.75, color=color, linewidth=0.8, linestyle=(0, (3, 1.5)))
    ax.set_ylim(0, 1.75 * max(others.max(), members.max()))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel("logit weight (dashed: means)")
    ax.set_ylabel("density")
    handles = ax.legend(loc="upper right", fontsize=SMALL, handlelength=1.0)
    handles.set_in_layout(False)
    q = f"q = 10^{split.log10_q:.1f}" if split.log10_q < -3 else f"q = {10**split.log10_q:.2g}"
    eta2 = (
        inside.mean() / (1 - inside.mean()) * ((weights[inside].mean() - weights.mean()) / weights.std()) ** 2
    )
    lines = [
        f"feature {split.feature}: {split.side}",
        f"{q}, eta\N{SUPERSCRIPT TWO} {eta2:.2g}".replace("-", "\N{MINUS SIGN}"),
        _members(split, weights, inside, 72 * 1.35),
    ]
    style: dict[str, Any] = {"transform": ax.transAxes, "va": "top", "fontsize": SMALL, "linespacing": 1.25}
    ax.text(0.015, 0.985, "\n".join(lines), **style)


def _members(split: Split, weights: np.ndarray, inside: np.ndarray, points: float) -> str:
    """The set's tokens of most extreme weight on the feature's side, one below the other."""
    sign = 1 if split.side == "promoted" else -1
    order = np.flatnonzero(inside)[np.argsort(-sign * weights[inside], kind="stable")][:SHOWN_TOKENS]
    options: dict[str, Any] = {"limit": points, "measure": lambda text: text_width(text, SMALL)}
    return "\n".join(legible(split.tokens[i], glyphs=glyphs(), **options) for i in order)
