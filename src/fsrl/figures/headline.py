"""The paper's first figure: types in the plane, tests where nothing is to be found, agreement by hook.

A study that has no tests of sets, or no measured effects, has the panels that it can have.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsrl.effects.names import ACTIVE, DIRECT, FEATURE, MATCHED, TRANSPORTED
from fsrl.figures import effects as effect_figures
from fsrl.figures import enrichment as enrichment_figures
from fsrl.figures import layers as layer_figures
from fsrl.figures import plane as plot_plane
from fsrl.figures.layers import LayerInputs
from fsrl.figures.style import DOUBLE, NULL_COLOR, SINGLE, expected, new_figure, styled
from fsrl.names import SHARED, TYPES, type_label
from fsrl.types.select import chance_by_kind, typed

HEIGHT = 2.9  # inches
SHOWN = {DIRECT: "direct", TRANSPORTED: "transported"}


@styled()
def headline(
    layers: Sequence[LayerInputs],
    null_counts: Sequence[pd.DataFrame],
    p_values: pd.DataFrame | None,
    by_hook: pd.DataFrame | None,
    *,
    scheme: str,
    title: str,
) -> Figure:
    """Side by side: all features of all layers in the plane, in their type's colour; a QQ plot of three tests
    of token sets on decoders turned at random; correlation of the measured change with direct and transported
    weights, by layer.

    null_counts: table `type_null_counts` of each layer, for what chance gives: for each bounding kind summed
    over the layers, and of these sums the largest; p_values: table `null_p_values`, None without one;
    by_hook: table `effects_by_hook`, None without one; scheme: of the types; title: study and view.
    """
    panels = 1 + (p_values is not None) + (by_hook is not None)
    figure = new_figure(DOUBLE if panels > 1 else SINGLE, HEIGHT, title)
    figure.set_layout_engine("constrained", w_pad=0.06)
    axes = figure.subplots(1, panels, squeeze=False, width_ratios=[1.5, *[1.0] * (panels - 1)])[0]
    _draw_plane(axes[0], layers, null_counts, scheme)
    if p_values is not None:
        _draw_tests(axes[1], p_values)
    if by_hook is not None:
        _draw_agreement(axes[-1], by_hook)
    return figure


def _draw_plane(
    ax: Axes, layers: Sequence[LayerInputs], null_counts: Sequence[pd.DataFrame], scheme: str
) -> None:
    labelled = pd.concat([typed(one.moments, one.types, scheme) for one in layers], ignore_index=True)
    null = layers[0].null
    shared = null[null["kind"] == SHARED]
    plot_plane.set_scales(ax, [labelled, plot_plane.central(shared)], gaps=(0.14, 0.07), headroom=0.3)
    plot_plane.draw_types(ax, labelled)
    plot_plane.draw_null(ax, shared, quantiles=False)
    ax.set_xlabel("skewness (asinh scale)")
    ax.set_ylabel("kurtosis (log scale)")
    ax.set_title(f"{len(labelled):,} features, {len(layers)} hooks", loc="left")
    legend = ax.legend(
        handles=_type_handles(labelled, null_counts, scheme), loc="upper left", ncols=2, **TIGHT
    )
    legend.set_in_layout(False)


TIGHT: dict[str, Any] = {"handlelength": 0.8, "borderpad": 0, "labelspacing": 0.25, "columnspacing": 0.8}


def _type_handles(labelled: pd.DataFrame, null_counts: Sequence[pd.DataFrame], scheme: str) -> list[Line2D]:
    """Each type's count and, in brackets, what chance gives; and the line of the isotropic directions."""
    sums = chance_by_kind(null_counts, scheme)
    handles = []
    for name in TYPES:
        if name in sums.index:
            count = int((labelled["type"] == name).sum())
            label = f"{type_label(name)} {count:,} ({expected(float(sums.loc[name].max()))})"
            handles.append(plot_plane.type_handle(name, label, empty=count == 0))
    handles.append(plot_plane.type_handle("unclassified", "of no type"))
    return handles


def _draw_tests(ax: Axes, p_values: pd.DataFrame) -> None:
    enrichment_figures.draw_qq(ax, p_values[p_values["kind"] == "turned"])
    ax.set_title("decoders turned at random", loc="left")


def _draw_agreement(ax: Axes, by_hook: pd.DataFrame) -> None:
    rows = by_hook[(by_hook["step"] == "+1") & (by_hook["state"] == ACTIVE)]
    saes = list(dict.fromkeys(rows["sae"]))
    features = rows[rows["direction"] == FEATURE]
    controls = rows[rows["direction"] == MATCHED]
    handles = []
    for shift, (kind, label) in zip((-0.06, 0.06), SHOWN.items(), strict=True):
        mine = features[features["prediction"] == kind]
        if mine.empty:
            continue
        effect_figures.draw_prediction(ax, mine, "pearson", saes, kind, shift)
        _, color, marker = effect_figures.PREDICTED[kind]
        style: dict[str, Any] = {"color": color, "linewidth": 0.8}
        matched = controls[controls["prediction"] == kind].set_index("sae")["pearson"].reindex(saes)
        ax.plot(np.arange(len(saes)) + shift, matched, linestyle=(0, (2.5, 1.5)), zorder=5, **style)
        handles.append(Line2D([], [], marker=marker, markersize=3, label=label, **style))
    layer_figures.label_layers(ax, saes, DOUBLE / 3.5 - 0.4)
    low, high = min(0.0, ax.get_ylim()[0]), max(1.0, ax.get_ylim()[1])
    ax.set_ylim(low, high + 0.28 * (high - low))
    ax.set_yticks([tick for tick in (-0.5, 0, 0.25, 0.5, 0.75, 1) if low <= tick])
    ax.set_ylabel("correlation with the measured change")
    ax.set_title("where features are active", loc="left")
    line: dict[str, Any] = {"color": NULL_COLOR, "linestyle": "--", "linewidth": 0.8}
    handles.append(Line2D([], [], **line, label="matched controls"))
    ax.legend(handles=handles, loc="upper left", **TIGHT | {"handlelength": 1.4}).set_in_layout(False)
