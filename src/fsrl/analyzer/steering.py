"""Which features a steering vector steers most: the ranking, and its figure.

A steering vector s [..., d_sae] (of `SAEAdapter.get_steering_vector`, or of one's own) is added to the
features in `additive` fusion, and scales them in `multiplicative` fusion. Over its leading dimensions
(positions, texts) a feature's strength is the mean of |s|: means of s alone would hide a feature that is
pushed up here and down there.
"""

import unicodedata
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from matplotlib.figure import Figure

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.explanations.local import NOTHING
from fsrl.figures.style import DOUBLE, SMALL, glyphs, new_figure, styled
from fsrl.weights.matrices import check_finite

RAISED, LOWERED, BEHIND = "#0072B2", "#D55E00", "#D9D9D9"
LONGEST_LABEL = 70  # characters


def rank(vector: Any, d_sae: int, *, threshold: float | None, top_k: int | None) -> pd.DataFrame:
    """The features that `vector` [..., d_sae] steers, strongest first.

    Columns: feature; steering, mean of s over the leading dimensions; strength, mean of |s| there; peak, the
    value of largest |s|. threshold: least strength (features of strength 0 are never listed); top_k: at most
    so many; None: no bound. Equal strengths go by feature. Raises FsrlError for what is no such vector.
    """
    values = _checked(vector, d_sae)
    is_bound = isinstance(threshold, Real) and not isinstance(threshold, bool) and threshold >= 0
    for name, value, right, wanted in (
        ("threshold", threshold, is_bound, "give a strength from 0 on, or None"),
        ("top_k", top_k, arguments.is_whole(top_k, 1), "give a whole number from 1 on, or None"),
    ):
        arguments.require(value is None or right, "steered features", name, value, wanted)
    strength = values.abs().mean(dim=0)
    order = strength.argsort(descending=True, stable=True)
    order = order[(strength[order] > 0) & (strength[order] >= float(threshold or 0))]
    order = order if top_k is None else order[: int(top_k)]
    peak = values.gather(0, values.abs().argmax(dim=0, keepdim=True))[0]
    return pd.DataFrame(
        {
            "feature": order.numpy().astype(np.int32),
            "steering": values.mean(dim=0)[order].numpy(),
            "strength": strength[order].numpy(),
            "peak": peak[order].numpy(),
        }
    )


@styled()
def figure(table: pd.DataFrame, *, title: str) -> Figure:
    """Bars of `steering` for the rows of a table of `rank` (with a column description, or without).

    The grey bar behind is `strength`: longer than `steering` where the sign changes between positions.
    """
    figure = new_figure(DOUBLE, 0.7 + 0.16 * max(len(table), 2), title)
    ax = figure.add_subplot()
    y = np.arange(len(table))
    colours = [RAISED if value >= 0 else LOWERED for value in table["steering"]]
    signs = np.where(table["steering"] >= 0, 1, -1)
    ax.barh(y, signs * table["strength"], color=BEHIND, height=0.75)
    ax.barh(y, table["steering"], color=colours, height=0.75)
    ax.axvline(0, color="black", linewidth=0.5)
    ax.set_yticks(y, [label(row) for row in table.to_dict("records")], fontsize=SMALL)
    ax.set_ylim(max(len(table), 1) - 0.5, -0.5)
    ax.set_xlabel("mean steering value (grey: mean of its absolute value)")
    if table.empty:
        ax.text(0.5, 0.5, "no feature is steered", transform=ax.transAxes, ha="center", va="center")
    return figure


def label(row: dict[str, Any]) -> str:
    """A row's feature and description on one line of characters that the figures' font can draw."""
    description = row.get("description")
    if not isinstance(description, str):
        return str(row["feature"])
    description = description.removeprefix(f"{NOTHING}; ")  # the tokens that follow tell features apart
    known = glyphs()
    shown = (" " if letter.isspace() else letter for letter in description)
    drawn = "".join(letter if _drawn(letter, known) else "\N{REPLACEMENT CHARACTER}" for letter in shown)
    line = " ".join(drawn.split())
    line = line if len(line) <= LONGEST_LABEL else line[: LONGEST_LABEL - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return f"{row['feature']}  {line}"


def _drawn(letter: str, known: frozenset[int]) -> bool:
    return ord(letter) in known and unicodedata.category(letter)[0] != "C"


def _checked(vector: Any, d_sae: int) -> Float64[torch.Tensor, "n {d_sae}"]:
    """On the CPU, its leading dimensions as one."""
    try:
        values = torch.as_tensor(vector).detach().to_dense()
        if values.is_complex():
            raise TypeError("complex numbers have no order")
        values = values.to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise FsrlError(f"steered features: {type(vector).__name__} is no vector [..., {d_sae}]") from error
    if values.dim() == 0 or values.shape[-1] != d_sae or not values.numel():
        raise FsrlError(
            f"steered features: the vector has shape {list(values.shape)}, expected [..., {d_sae}]; give "
            "what get_steering_vector returns"
        )
    check_finite("steered features: the vector", values)
    return values.reshape(-1, d_sae)
