"""What a feature's dashboard says, gathered from the tables of one SAE in one view."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.moments.formulas import HISTOGRAM_HALF_WIDTH
from fsrl.pages.sets import SIDES, how_many
from fsrl.types.select import of_scheme

MOMENTS = ("mean", "std", "skewness", "kurtosis", "norm", "log10_density")
ROUNDING = 1e-5  # a mean of this share of the std is 0


@dataclass(frozen=True, eq=False)
class FeatureFacts:
    """Everything that `fsrl.pages.page.feature_page` shows; what is empty or None is said to be absent.

    moments: of the logit weights (see `fsrl.moments`), by the names in MOMENTS; type_name: a type, with
    `scheme`, the rules that gave it; view: how the weights were computed, in words; explanations: records
    with description, explanationModelName, typeName; histogram_edges [n + 1], histogram_counts [n],
    underflow, overflow: tokens by logit weight; top, bottom: (token, weight), most extreme first; sets:
    records with set, side, z, t, log10_p, q and, where it is known, significant; examples: records with
    tokens, values, max_index (see `fsrl.models.examples`), of the text named by examples_from; notes:
    sentences. unit: of the logit weights. Tokens are as `fsrl.tokens.text` spells them (a space is Ġ).
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


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """What the tables of one SAE hold of one feature; None where there is no such table.

    moments, histogram: its rows in the tables of that name; extremes: its rows; type_name: under `scheme`;
    sets: a row a tested set, with set, side (one of SIDES; another text: neither), z, t, log10_p, log10_q
    and significant, each null where it is not known; notes: what a reader of these numbers has to know;
    mean_is_relative: to a mean over all tokens that is not known, so that what rounding leaves of it is 0.
    """

    moments: Mapping[str, Any] | pd.Series
    type_name: str | None = None
    scheme: str | None = None
    histogram: Mapping[str, Any] | pd.Series | None = None
    extremes: pd.DataFrame | None = None
    sets: pd.DataFrame | None = None
    notes: Sequence[str] = ()
    mean_is_relative: bool = False


def from_rows(
    rows: FeatureRows, *, study: str, hook: str, feature: int, notes: Sequence[str] = (), **others: Any
) -> FeatureFacts:
    """The facts of one feature from what the tables hold of it; the given notes are put before theirs.

    others: fields that no table holds, such as explanations, examples and title ("Feature 17 of HOOK" if left
    out). Of the sets those that are significant are listed, at most ten a side, and where a side has none its
    best.
    """
    feature = arguments.feature(feature)
    measured = {name: _number(rows.moments[name]) for name in MOMENTS}
    mean, std = measured["mean"], measured["std"]
    is_rounding = rows.mean_is_relative and mean is not None and abs(mean) <= ROUNDING * (std or 0.0)
    shown = {**measured, "mean": 0.0} if is_rounding else measured
    found: dict[str, Any] = {"title": f"Feature {feature} of {hook}"}
    if rows.histogram is not None:  # the bins were laid around the mean as measured
        found |= _histogram(rows.histogram, mean, std)
    if rows.extremes is not None:
        found |= {side: _extremes(rows.extremes, side) for side in ("top", "bottom")}
    if rows.sets is not None:
        found |= {"sets": _listed(rows.sets)}
    found |= {"type_name": rows.type_name, "scheme": rows.scheme, "notes": [*notes, *rows.notes], **others}
    return FeatureFacts(study=study, hook=hook, feature=feature, moments=shown, **found)


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
    """The facts of one feature from the tables (see `fsrl.tables`) of one SAE.

    scheme: whose type is shown; it must be given with `types`. others: as `from_rows`. Raises FsrlError for a
    feature that a table lacks and a scheme that `types` lacks.
    """
    feature, type_name = arguments.feature(feature), None
    if types is not None:
        if scheme is None:
            raise FsrlError("dashboard: give the scheme whose type is shown, beside the table types")
        type_name = _row(of_scheme(types, scheme, "types"), feature, "types")["type"]
    rows = FeatureRows(
        moments=_row(moments, feature, "moments"),
        type_name=type_name,
        scheme=scheme,
        histogram=None if histograms is None else _row(histograms, feature, "histograms"),
        extremes=None if extremes is None else _rows(extremes, feature, "extremes"),
        sets=sets_of(feature, best_sets, enrichment),
    )
    return from_rows(rows, study=study, hook=hook, feature=feature, **others)


def sets_of(
    feature: int, best_sets: pd.DataFrame | None, enrichment: pd.DataFrame | None
) -> pd.DataFrame | None:
    """The sets of `FeatureRows`; None without either table, and from one alone without what the other holds.

    Which sets are significant follows from their number in `best_sets`, since q rises with p; q itself is
    known of a side's best set alone.
    """
    best = None if best_sets is None else _row(best_sets, feature, "best_sets")
    if enrichment is None:
        return None if best is None else _best_alone(best)
    rows = _rows(enrichment, feature, "enrichment").sort_values("log10_p", kind="stable")
    sides = []
    for side, sign in SIDES.items():
        mine = rows[sign * rows["t"] > 0]
        known: dict[str, Any] = {"log10_q": np.nan, "significant": None}
        if best is not None:
            q = np.where(mine["set"] == best[side], best[f"{side}_log10_q"], np.nan)
            known = {"log10_q": q, "significant": np.arange(len(mine)) < best[f"n_{side}"]}
        sides.append(mine.assign(side=side, **known))
    return pd.concat(sides)


def _best_alone(best: pd.Series) -> pd.DataFrame:
    sides = [
        {
            "set": best[side],
            "side": side,
            "z": np.nan,
            "t": np.nan,
            "log10_p": best[f"{side}_log10_p"],
            "log10_q": best[f"{side}_log10_q"],
            "significant": best[f"n_{side}"] > 0,
        }
        for side in SIDES
    ]
    return pd.DataFrame(sides).dropna(subset="set")


def _listed(sets: pd.DataFrame) -> list[dict[str, Any]]:
    """Records set, side, z, t, log10_p, q, significant: promoted first, each side by p."""
    found: list[dict[str, Any]] = []
    for side in SIDES:
        mine = sets[(sets["side"] == side) & sets["log10_p"].notna()].sort_values("log10_p", kind="stable")
        n = int(mine["significant"].astype("boolean").sum())
        for row in mine.head(how_many(n)).to_dict("records"):
            q, significant = _number(row["log10_q"]), row["significant"]
            found.append(
                {
                    "set": row["set"],
                    "side": side,
                    **{name: _number(row[name]) for name in ("z", "t", "log10_p")},
                    "q": None if q is None else 10.0**q,
                    "significant": None if pd.isna(significant) else bool(significant),
                }
            )
    return found


def _histogram(row: Mapping[str, Any] | pd.Series, mean: float | None, std: float | None) -> dict[str, Any]:
    """The table's bins, which are equal ones of mean +- 8 std, with their edges."""
    counts = np.asarray(row["counts"], dtype=np.int64)
    if not len(counts) or mean is None or std is None:
        return {}
    edges = mean + std * np.linspace(-HISTOGRAM_HALF_WIDTH, HISTOGRAM_HALF_WIDTH, len(counts) + 1)
    beyond = {name: int(row[name]) for name in ("underflow", "overflow")}
    return {"histogram_edges": edges, "histogram_counts": counts, **beyond}


def _extremes(extremes: pd.DataFrame, side: str) -> list[tuple[str, float]]:
    rows = extremes[extremes["side"] == side].sort_values("rank")
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
