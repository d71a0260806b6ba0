"""One row a layer: how many features lie in tails that chance does not reach, and which types they get."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fsrl.names import SHARED
from fsrl.stats.quantiles import quantile

TAIL = 0.999


@dataclass(frozen=True, eq=False)
class SummaryInputs:
    """One SAE in one view: its id, its tables `moments` and `type_counts`, and `null` with every kind."""

    sae: str
    moments: pd.DataFrame
    type_counts: pd.DataFrame
    null: pd.DataFrame


def layer_summary(layers: Sequence[SummaryInputs], *, scheme: str) -> pd.DataFrame:
    """Shares beyond the nulls and type counts of each layer.

    Columns: sae, features; kurtosis_above, skewness_above (share of features above the 0.999 quantile of
    isotropic directions), kurtosis_below, skewness_below (below their 0.001 quantile; chance gives 0.001 of
    each), and the same four as *_every_null: beyond that quantile of each kind of null; then for each type of
    the scheme the number of features with it as primary label and, as {type}_expected, the most that a kind
    of null gives.
    """
    rows = []
    for layer in layers:
        row: dict[str, object] = {"sae": layer.sae, "features": len(layer.moments)}
        shared = layer.null[layer.null["kind"] == SHARED]
        row |= _beyond(layer.moments, shared, "")
        row |= _beyond(layer.moments, layer.null, "_every_null")
        for count in layer.type_counts[layer.type_counts["scheme"] == scheme].itertuples():
            row[str(count.type)] = count.features
            row[f"{count.type}_expected"] = count.expected
        rows.append(row)
    return pd.DataFrame(rows)


def _beyond(moments: pd.DataFrame, null: pd.DataFrame, suffix: str) -> dict[str, object]:
    kinds = [part for _, part in null.groupby("kind")]
    found: dict[str, object] = {}
    for column in ("kurtosis", "skewness"):
        highest = max(quantile(part, column, TAIL) for part in kinds)
        lowest = min(quantile(part, column, 1 - TAIL) for part in kinds)
        found[f"{column}_above{suffix}"] = (moments[column] > highest).mean()
        found[f"{column}_below{suffix}"] = (moments[column] < lowest).mean()
    return found
