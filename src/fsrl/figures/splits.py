"""Figure of the best exemplar of each type, its logit weights split by the token set it is aligned with."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64
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


@styled()
def splits(found: pd.DataFrame, type_counts: pd.DataFrame, *, scheme: str, title: str) -> Figure:
    """Logit weights of the set's tokens against all others', for the best exemplar of each type.

    Both histograms have area 1, so that a set of a few tokens can be seen beside the vocabulary. found: the
    table `splits` of one layer and view; type_counts: of the same; scheme: the scheme of the types; title:
    study, hook and view.
    """
    counts = scheme_counts(type_counts, scheme)
    by_type = {str(split.type): split for split in found.itertuples(index=False)}
    note = "best exemplar of each type, split by its best token set; each histogram has area 1"
    figure = new_figure(DOUBLE, 6.3, f"{title} · scheme {scheme}\n{note}")
    names = [name for name in TYPES if name in counts.index]
    panels = list(figure.subplots(-(-len(TYPES) // 2), 2).flat)
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


def _draw_split(ax: Axes, split: Any) -> None:
    """One row of the table."""
    color = TYPE_COLORS[split.type]
    edges = np.linspace(split.low, split.high, len(split.inside) + 1)
    others, members = (_density(counts, edges) for counts in (split.outside, split.inside))
    ax.stairs(others, edges, fill=True, color="#D0D0D0", label=f"other tokens ({sum(split.outside):,})")
    label = f"{split.set.replace('_', ' ')} ({sum(split.inside):,})"
    ax.stairs(members, edges, color=color, linewidth=1.2, label=label)
    for mean, shade in ((split.mean_outside, NULL_COLOR), (split.mean_inside, color)):
        ax.axvline(mean, ymax=1 / 1.75, color=shade, linewidth=0.8, linestyle=(0, (3, 1.5)))
    ax.set_ylim(0, 1.75 * max(others.max(), members.max()))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel("logit weight (dashed: means)")
    ax.set_ylabel("density")
    handles = ax.legend(loc="upper right", fontsize=SMALL, handlelength=1.0)
    handles.set_in_layout(False)
    q = f"q = 10^{split.log10_q:.1f}" if split.log10_q < -3 else f"q = {10**split.log10_q:.2g}"
    options: dict[str, Any] = {"limit": 72 * 1.35, "measure": lambda text: text_width(text, SMALL)}
    lines = [
        f"feature {split.feature}: {split.side}",
        f"{q}, eta\N{SUPERSCRIPT TWO} {split.eta2:.2g}".replace("-", "\N{MINUS SIGN}"),
        *(legible(token, glyphs=glyphs(), **options) for token in split.tokens),
    ]
    style: dict[str, Any] = {"transform": ax.transAxes, "va": "top", "fontsize": SMALL, "linespacing": 1.25}
    ax.text(0.015, 0.985, "\n".join(lines), **style)


def _density(counts: Any, edges: Float64[np.ndarray, "edges"]) -> Float64[np.ndarray, "edges-1"]:
    """Of a histogram: area 1."""
    counts = np.asarray(counts, dtype=float)
    return counts / counts.sum() / np.diff(edges)
