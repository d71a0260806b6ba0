"""What a feature's dashboard says, gathered from the tables of one SAE in one view."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fsrl.errors import FsrlError
from fsrl.moments.formulas import HISTOGRAM_HALF_WIDTH
from fsrl.types.select import of_scheme

MOMENTS = ("mean", "std", "skewness", "kurtosis", "norm", "log10_density")
SETS_PER_SIDE = 10


@dataclass(frozen=True, eq=False)
class FeatureFacts:
    """Everything that `fsrl.pages.page.feature_page` shows; what is empty or None is said to be absent.

    moments: of the logit weights (see `fsrl.moments`), by the names in MOMENTS; type_name: a type, with
    `scheme`, the rules that gave it; view: how the weights were computed, in words; explanations: records
    with description, explanationModelName, typeName; histogram_edges [n + 1], histogram_counts [n],
    underflow, overflow: tokens by logit weight; top, bottom: (token, weight), most extreme first; sets:
    records with set, side, z, t, log10_p, q and, where it is known, significant; examples: records with
    tokens, values, max_index (see `fsrl.models.examples`), of the text named by examples_from; notes:
    sentences. unit: of the logit weights. Tokens are as stored in the vocabulary (a space is Ġ).
    """

    title: str
    study: str
    hook: str
    feature: int
    moments: dict[str, float | None]
    type_name: str | None = None
    explanations: list[dict[str, Any]] = field(default_factory=list)
    histogram_edges: Sequence[float] | np.ndarray = ()
    histogram_counts: Sequence[int] | np.ndarray = ()
    underflow: int = 0
    overflow: int = 0
    top: list[tuple[str, float]] = field(default_factory=list)
    bottom: list[tuple[str, float]] = field(default_factory=list)
    sets: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scheme: str | None = None
    view: str | None = None
    examples_from: str | None = None
    unit: str = "logit per unit of activation"

    def __post_init__(self) -> None:
        edges, counts = len(self.histogram_edges), len(self.histogram_counts)
        if edges != counts + 1 and edges + counts:
            raise FsrlError(
                f"feature {self.feature}: {edges} histogram edges for {counts} counts; give one edge more"
            )
        for number, example in enumerate(self.examples):
            n = len(example["tokens"])
            if len(example["values"]) != n or not 0 <= example["max_index"] < n:
                raise FsrlError(
                    f"feature {self.feature}: example {number} has {n} tokens, {len(example['values'])} "
                    f"values and max_index {example['max_index']}; give a value a token, and one of them"
                )


def from_tables(
    *,
    study: str,
    hook: str,
    feature: int,
    moments: pd.DataFrame,
    extremes: pd.DataFrame | None = None,
    histograms: pd.DataFrame | None = None,
    types: pd.DataFrame | None = None,
    scheme: str | None = None,
    best_sets: pd.DataFrame | None = None,
    enrichment: pd.DataFrame | None = None,
    **others: Any,
) -> FeatureFacts:
    """The facts of one feature from the tables (see `fsrl.tables`, `fsrl.tables.enrichment`) of one SAE.

    scheme: whose type is shown; it must be given with `types`. others: fields that no table holds, such as
    explanations, examples, notes and title ("Feature 17 of HOOK" if left out). Of the sets those that are
    significant are listed, at most ten a side, and where a side has none its best. Raises FsrlError for a
    feature that a table lacks and a scheme that `types` lacks.
    """
    row = _row(moments, feature, "moments")
    known = {name: _number(row[name]) for name in MOMENTS}
    found: dict[str, Any] = {}
    if types is not None:
        if scheme is None:
            raise FsrlError("dashboard: give the scheme whose type is shown, beside the table types")
        found |= {"type_name": _row(of_scheme(types, scheme, "types"), feature, "types")["type"]}
    if histograms is not None:
        found |= _histogram(_row(histograms, feature, "histograms"), known["mean"], known["std"])
    if extremes is not None:
        found |= {side: _extremes(extremes, feature, side) for side in ("top", "bottom")}
    if best_sets is not None or enrichment is not None:
        found |= {"sets": sets_of(feature, best_sets, enrichment)}
    found = {"title": f"Feature {feature} of {hook}"} | found | others
    return FeatureFacts(study=study, hook=hook, feature=feature, moments=known, scheme=scheme, **found)


def sets_of(
    feature: int, best_sets: pd.DataFrame | None, enrichment: pd.DataFrame | None
) -> list[dict[str, Any]]:
    """Records set, side, z, t, log10_p, q, significant: promoted first, each side by p.

    Which sets are significant follows from their number in `best_sets`, since q rises with p; q itself is
    known of a side's best set alone. From one table alone what the other holds is None.
    """
    best = None if best_sets is None else _row(best_sets, feature, "best_sets")
    found: list[dict[str, Any]] = []
    for side, sign in (("promoted", 1), ("suppressed", -1)):
        if enrichment is None:
            assert best is not None
            found += [_best_alone(best, side)] if isinstance(best[side], str) else []
            continue
        rows = _rows(enrichment, feature, "enrichment")
        rows = rows[(sign * rows["t"] > 0) & rows["log10_p"].notna()].sort_values("log10_p", kind="stable")
        n = 0 if best is None else int(best[f"n_{side}"])
        for place, (_, row) in enumerate(rows.head(min(max(n, 1), SETS_PER_SIDE)).iterrows()):
            record = {name: _number(row[name]) for name in ("z", "t", "log10_p")}
            is_best = best is not None and row["set"] == best[side]
            q = _number(best[f"{side}_log10_q"]) if best is not None and is_best else None
            record |= {
                "q": None if q is None else 10.0**q,
                "significant": None if best is None else place < n,
            }
            found.append({"set": row["set"], "side": side, **record})
    return found


def _best_alone(best: pd.Series, side: str) -> dict[str, Any]:
    q = _number(best[f"{side}_log10_q"])
    return {
        "set": best[side],
        "side": side,
        "z": None,
        "t": None,
        "log10_p": _number(best[f"{side}_log10_p"]),
        "q": None if q is None else 10.0**q,
        "significant": bool(best[f"n_{side}"]),
    }


def _histogram(row: pd.Series, mean: float | None, std: float | None) -> dict[str, Any]:
    """The table's bins, which are equal ones of mean +- 8 std, with their edges."""
    counts = np.asarray(row["counts"], dtype=np.int64)
    if not len(counts) or mean is None or std is None:
        return {}
    edges = mean + std * np.linspace(-HISTOGRAM_HALF_WIDTH, HISTOGRAM_HALF_WIDTH, len(counts) + 1)
    beyond = {name: int(row[name]) for name in ("underflow", "overflow")}
    return {"histogram_edges": edges, "histogram_counts": counts, **beyond}


def _extremes(extremes: pd.DataFrame, feature: int, side: str) -> list[tuple[str, float]]:
    rows = _rows(extremes, feature, "extremes")
    rows = rows[rows["side"] == side].sort_values("rank")
    return [(str(token), float(weight)) for token, weight in zip(rows["token"], rows["weight"], strict=True)]


def _rows(frame: pd.DataFrame, feature: int, table: str) -> pd.DataFrame:
    rows = frame[frame["feature"] == feature]
    if rows.empty:
        raise FsrlError(f"table {table}: no feature {feature}; it has {frame['feature'].nunique():,} others")
    return rows


def _row(frame: pd.DataFrame, feature: int, table: str) -> pd.Series:
    rows = _rows(frame, feature, table)
    if len(rows) > 1:
        raise FsrlError(f"table {table}: {len(rows)} rows of feature {feature}; give one SAE's, in one view")
    return rows.iloc[0]


def _number(value: Any) -> float | None:
    """A finite float, or None."""
    return float(value) if not pd.isna(value) and math.isfinite(value) else None
