"""Figure of the kinds of null directions: what each gives in every layer, beside the features.

A type of the calibrated scheme begins where the most extreme kind ends, so this figure shows which kind
decides, and by how much.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsrl.figures import layers as plot_layers
from fsrl.figures.style import DOUBLE, NULL_BOUNDS, by_kind, new_figure, styled
from fsrl.types.select import type_label, values

MOMENTS = ("skewness", "kurtosis")
MARKERS = {"isotropic": "o", "second_moment": "s", "sign_flip": "^", "activations": "D"}
DASHES: dict[str, Any] = {"color": "black", "linewidth": 0.6, "linestyle": (0, (3, 1.5))}
FEATURES_AT, FIRST_KIND_AT, STEP = -0.3, -0.05, 0.14  # in units of the distance between layers


@styled()
def nulls_by_layer(layers: Sequence[plot_layers.Layer], *, title: str) -> Figure:
    """Quantiles 0.001, 0.5 and 0.999 of skewness and kurtosis of each kind of null, beside the features'.

    The dashes across a layer are the most extreme of the kinds' outer quantiles.
    """
    figure = new_figure(DOUBLE, 5.0, f"{title}\ndead features included; null directions, by kind")
    for ax, column in zip(figure.subplots(2, 1, sharex=True).flat, MOMENTS, strict=True):
        for place, layer in enumerate(layers):
            features = values(layer.moments, column)
            if len(features):
                quantiles = features.quantile(list(plot_layers.LEVELS)).to_numpy()
                plot_layers.draw_quantiles(ax, place + FEATURES_AT, quantiles, plot_layers.FEATURE_SHADES)
            _draw_kinds(ax, place, layer.null, column)
        plot_layers.scale_moment(ax, column)
        plot_layers.label_layers(ax, layers, DOUBLE - 0.6)
        for edge in np.arange(1, len(layers)) - 0.5:
            ax.axvline(edge, color="#E5E5E5", linewidth=0.5, zorder=0)
    handles = _handles({kind for layer in layers for kind in by_kind(layer.null)})
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _draw_kinds(ax: Axes, place: int, null: pd.DataFrame, column: str) -> None:
    """Each kind as a vertical line between its outer quantiles; dashes where the most extreme ones lie."""
    ends = []
    for i, (kind, rows) in enumerate(by_kind(null).items()):
        low, middle, high = values(rows, column).quantile([NULL_BOUNDS[0], 0.5, NULL_BOUNDS[1]])
        x = place + FIRST_KIND_AT + i * STEP
        ax.plot([x, x], [low, high], color="black", linewidth=0.7, zorder=3)
        ax.plot([x, x], [low, high], **_marker(kind), zorder=4)
        ax.plot([x], [middle], color="black", marker="_", markersize=3.5, linestyle="", zorder=4)
        ends.append((low, high))
    for bound in (min(low for low, _ in ends), max(high for _, high in ends)):
        ax.hlines(bound, place - 0.46, place + 0.46, **DASHES)


def _marker(kind: str) -> dict[str, Any]:
    face = {"markerfacecolor": "white", "markeredgecolor": "black", "markeredgewidth": 0.7}
    return {"linestyle": "", "marker": MARKERS[kind], "markersize": 3.2, **face}


def _handles(kinds: set[str]) -> list[Artist]:
    handles: list[Artist] = [*plot_layers.shade_handles("features", plot_layers.FEATURE_SHADES)]
    for kind in MARKERS:
        if kind in kinds:
            line = _marker(kind) | {"linestyle": "-", "color": "black", "linewidth": 0.7}
            handles.append(Line2D([], [], **line, label=f"null, {plot_layers.SPANS[0]}: {type_label(kind)}"))
    handles.append(Line2D([], [], **DASHES, label="most extreme kind: where calibrated types begin"))
    handles.append(Line2D([], [], color="black", marker="_", linestyle="", label="median"))
    return handles
