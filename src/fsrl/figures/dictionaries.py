"""Several dictionaries of one model side by side, such as SAE features and neurons: how many have a type."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsrl.figures.layers import label_layers
from fsrl.figures.style import DOUBLE, TYPE_COLORS, fix_ticks, new_figure, styled
from fsrl.hooks import depth
from fsrl.names import TYPES, type_label
from fsrl.types.dictionaries import ALL_LAYERS, TYPED

COLORS = TYPE_COLORS | {TYPED: "#000000"}
CHANCE: dict[str, Any] = {"linestyle": (0, (2, 1.2)), "linewidth": 0.8}
FOUND: dict[str, Any] = {"marker": "o", "markersize": 3.0, "linewidth": 1.0}
# Types of one layer stand beside each other, in units of the distance between layers.
STEP = 0.1


@styled()
def dictionaries(frame: pd.DataFrame, titles: Mapping[str, str], *, title: str) -> Figure:
    """Share of each type by layer, a panel for each dictionary, and that of chance as a dashed line.

    frame: as `fsrl.types.dictionaries` gives it; titles: study -> what is printed above its panel.
    Dictionaries of one place of the model are not joined by lines. The axis is linear up to 0.1 % and
    logarithmic above.
    """
    note = "primary types, dead features included; axis linear up to 0.1 %, logarithmic above"
    figure = new_figure(DOUBLE, 0.8 + 1.6 * len(titles), f"{title}\n{note}")
    panels = figure.subplots(len(titles), 1, sharey=True, squeeze=False).flat
    for ax, (study, printed) in zip(panels, titles.items(), strict=True):
        rows = frame[(frame["study"] == study) & (frame["sae"] != ALL_LAYERS)]
        _draw_study(ax, rows)
        ax.set_title(f"{printed} · {rows.drop_duplicates('sae')['size'].sum():,} directions")
    names = [name for name in (*TYPES, TYPED) if (frame["type"] == name).any()]
    handles = [Line2D([], [], color=COLORS[name], label=_label(name), **FOUND) for name in names]
    handles.append(Line2D([], [], color="black", label="by chance (at most)", **CHANCE))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _draw_study(ax: Axes, rows: pd.DataFrame) -> None:
    saes = list(dict.fromkeys(rows["sae"]))
    names = [name for name in COLORS if (rows["type"] == name).any()]
    # Dictionaries of one place are no course from layer to layer.
    apart = len({depth(sae)[:2] for sae in saes}) < len(saes)
    chance, found = (
        (CHANCE | {"linestyle": "", "marker": "_"}, FOUND | {"linestyle": ""}) if apart else (CHANCE, FOUND)
    )
    for i, name in enumerate(names):
        of = rows[rows["type"] == name].set_index("sae").loc[saes]
        x = np.arange(len(saes)) + STEP * (i - (len(names) - 1) / 2)
        ax.plot(x, of["chance"], color=COLORS[name], zorder=2, **chance)
        ax.plot(x, of["share"], color=COLORS[name], zorder=3, clip_on=False, **found)
    ax.set_ylabel("share of directions")
    ax.set_yscale("symlog", linthresh=1e-3, linscale=0.6)
    ax.set_ylim(-1e-4, 1)
    fix_ticks(ax.yaxis, [0, 1e-3, 1e-2, 0.1, 1], lambda share: f"{100 * share:g} %")
    ax.grid(axis="y", color="#E5E5E5", linewidth=0.5)
    label_layers(ax, saes, DOUBLE - 0.6)


def _label(name: str) -> str:
    return "any type" if name == TYPED else type_label(name)
