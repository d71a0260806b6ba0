"""What a feature's page says, gathered from what the tables of one SAE in one view hold of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.pages.record import MOMENTS
from fsrl.pages.sets import SetRow

ROUNDING = 1e-5  # a mean of this share of the std is 0


@dataclass(frozen=True, eq=False)
class FeatureFacts:
    """Everything that `fsrl.pages.page.feature_page` shows; what is empty or None is said to be absent.

    moments: of the logit weights, by the names in `fsrl.pages.record.MOMENTS`; dead: it fires on next to no
    token; type_name: a type, with `scheme`, the rules that gave it; view: how the weights were computed, in
    words; explanations: records with description, explanationModelName, typeName. spread: mean and std around
    which the histogram's bins were laid (8 std on either side); counts, underflow, overflow: tokens in each
    bin, and beyond them. ranks, shapes: see `fsrl.pages.record`, of this feature and of null directions. top,
    bottom: (token, weight), most extreme first; sets: those that are listed, None where nothing was tested;
    examples: records with tokens, values, max_index (see `fsrl.models.examples`), of the text named by
    examples_from; notes: sentences. unit: of the logit weights. Tokens are as `fsrl.tokens.text` spells them
    (a space is Ġ).
    """

    title: str
    study: str
    hook: str
    feature: int
    moments: Mapping[str, float | None]
    dead: bool = False
    type_name: str | None = None
    explanations: list[dict[str, Any]] = field(default_factory=list)
    spread: tuple[float | None, float | None] = (None, None)
    counts: Sequence[int] | np.ndarray = ()
    underflow: int = 0
    overflow: int = 0
    ranks: Mapping[str, list[float | None]] = field(default_factory=dict)
    shapes: Mapping[str, list[Any]] = field(default_factory=dict)
    top: list[tuple[str, float]] = field(default_factory=list)
    bottom: list[tuple[str, float]] = field(default_factory=list)
    sets: Sequence[SetRow] | None = None
    examples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scheme: str | None = None
    view: str | None = None
    examples_from: str | None = None
    unit: str = "logit per unit of activation"

    def __post_init__(self) -> None:
        for number, example in enumerate(self.examples):
            n = len(example["tokens"])
            if len(example["values"]) != n or not 0 <= example["max_index"] < n:
                raise FsrlError(
                    f"feature {self.feature}: example {number} has {n} tokens, {len(example['values'])} "
                    f"values and max_index {example['max_index']}; give a value a token, and one of them"
                )


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """What the tables of one SAE hold of one feature; None where there is no such table.

    moments, histogram: its rows in the tables of that name; extremes: its rows; type_name: under `scheme`;
    sets: as `fsrl.pages.sets.ListedSets` gives them; ranks, shapes: as `fsrl.pages.record` gives them;
    notes: what a reader of these numbers has to know; mean_is_relative: to a mean over all tokens that is not
    known, so that what rounding leaves of it is 0.
    """

    moments: Mapping[str, Any] | pd.Series
    type_name: str | None = None
    scheme: str | None = None
    histogram: Mapping[str, Any] | pd.Series | None = None
    extremes: pd.DataFrame | None = None
    sets: Sequence[SetRow] | None = None
    ranks: Mapping[str, list[float | None]] = field(default_factory=dict)
    shapes: Mapping[str, list[Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    mean_is_relative: bool = False


def from_rows(
    rows: FeatureRows, *, study: str, hook: str, feature: int, notes: Sequence[str] = (), **others: Any
) -> FeatureFacts:
    """The facts of one feature from what the tables hold of it; the given notes are put before theirs.

    others: fields that no table holds, such as explanations, examples and title ("Feature 17 of HOOK" if left
    out).
    """
    feature = arguments.feature(feature)
    measured = {name: _number(rows.moments[name]) for name in MOMENTS}
    mean, std = measured["mean"], measured["std"]
    is_rounding = rows.mean_is_relative and mean is not None and abs(mean) <= ROUNDING * (std or 0.0)
    shown = {**measured, "mean": 0.0} if is_rounding else measured
    ranks = {name: shares for name, shares in rows.ranks.items() if not (is_rounding and name == "mean")}
    found: dict[str, Any] = {"title": f"Feature {feature} of {hook}", "ranks": ranks, "shapes": rows.shapes}
    if rows.histogram is not None:  # the bins were laid around the mean as measured
        found |= {"spread": (mean, std), **_histogram(rows.histogram)}
    if rows.extremes is not None:
        found |= {side: _extremes(rows.extremes, side) for side in ("top", "bottom")}
    found |= {"type_name": rows.type_name, "scheme": rows.scheme, "sets": rows.sets}
    alive = rows.moments.get("alive")
    found |= {"dead": alive is not None and not pd.isna(alive) and not alive}
    return FeatureFacts(
        study=study,
        hook=hook,
        feature=feature,
        moments=shown,
        **found | {"notes": [*notes, *rows.notes], **others},
    )


def _histogram(row: Mapping[str, Any] | pd.Series) -> dict[str, Any]:
    names = ("underflow", "overflow")
    return {"counts": np.asarray(row["counts"], dtype=np.int64), **{name: int(row[name]) for name in names}}


def _extremes(extremes: pd.DataFrame, side: str) -> list[tuple[str, float]]:
    rows = extremes[extremes["side"] == side].sort_values("rank")
    return [(str(token), float(weight)) for token, weight in zip(rows["token"], rows["weight"], strict=True)]


def _number(value: Any) -> float | None:
    """A finite float, or None."""
    return float(value) if not pd.isna(value) and math.isfinite(value) else None
