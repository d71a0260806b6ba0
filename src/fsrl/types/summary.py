"""One row a layer: how many features lie in tails that chance does not reach, and which types they get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from fsrl.names import SHARED
from fsrl.nulls.quantiles import EXTREME, Bounds, NullTail
from fsrl.types import tails

TAIL = EXTREME


@dataclass(frozen=True, eq=False)
class SummaryInputs:
    """One SAE in one view: its id, its tables `moments` and `type_counts`, and the quantiles of its nulls."""

    sae: str
    moments: pd.DataFrame
    type_counts: pd.DataFrame
    known: Bounds


def layer_summary(layers: Sequence[SummaryInputs], *, scheme: str) -> pd.DataFrame:
    """Shares beyond the nulls and type counts of each layer.

    Columns: sae, features; kurtosis_above, skewness_above (share of features above the 0.999 quantile of
    isotropic directions), kurtosis_below, skewness_below (below their 0.001 quantile; chance gives 0.001 of
    each; skewness is pooled with its negative), and the same four as *_every_null: beyond that quantile of
    each bounding null; then for each type of the scheme the number of features with it as primary label, as
    {type}_low and {type}_high the 95 % interval of that count and, as {type}_expected, how many of as many
    fresh null directions get the label by the layer's own bounds, of the bounding kinds the most.
    """
    rows = []
    for layer in layers:
        row: dict[str, object] = {"sae": layer.sae, "features": len(layer.moments)}
        bounding = tails.bounding(layer.known)
        row |= _beyond(layer.moments, {SHARED: bounding[SHARED]}, "")
        row |= _beyond(layer.moments, bounding, "_every_null")
        for count in layer.type_counts[layer.type_counts["scheme"] == scheme].itertuples():
            row[str(count.type)] = count.features
            row[f"{count.type}_low"], row[f"{count.type}_high"] = count.low, count.high
            row[f"{count.type}_expected"] = count.expected_at_bounds
        rows.append(row)
    return pd.DataFrame(rows)


def _beyond(
    moments: pd.DataFrame, known: Mapping[str, Mapping[str, NullTail]], suffix: str
) -> dict[str, object]:
    named = {"kurtosis": ("heavy", "flat"), "skewness": ("right", "left")}
    read, found = tails.values(moments), dict[str, object]()
    for column, (high, low) in named.items():
        for side, tail in (("above", high), ("below", low)):
            most = max(tails.of_kind(null, tail).extreme for null in known.values())
            found[f"{column}_{side}{suffix}"] = (read[tail] > most).mean()
    return found
