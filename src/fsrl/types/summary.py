"""One row a layer: how many features lie in tails that chance does not reach, and which types they get; one
row a dictionary, layer and type: the dictionaries of one model side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from fsrl.names import SHARED, TYPES
from fsrl.nulls.quantiles import EXTREME, Bounds, NullTail
from fsrl.types import tails
from fsrl.types.select import scheme_counts

TAIL = EXTREME
# Rows of `dictionaries` that stand for all layers of a dictionary, and for all types together.
ALL_LAYERS, TYPED = "all", "typed"


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
    each bounding null; then for each type of the scheme the number of features with it as primary label and,
    as {type}_expected, the most that a bounding null gives.
    """
    rows = []
    for layer in layers:
        row: dict[str, object] = {"sae": layer.sae, "features": len(layer.moments)}
        bounding = tails.bounding(layer.known)
        row |= _beyond(layer.moments, {SHARED: bounding[SHARED]}, "")
        row |= _beyond(layer.moments, bounding, "_every_null")
        for count in layer.type_counts[layer.type_counts["scheme"] == scheme].itertuples():
            row[str(count.type)] = count.features
            row[f"{count.type}_expected"] = count.expected
        rows.append(row)
    return pd.DataFrame(rows)


def dictionaries(counts: Mapping[str, Mapping[str, pd.DataFrame]], *, scheme: str) -> pd.DataFrame:
    """The types of several dictionaries of one model, layer by layer, beside what chance gives.

    counts: study -> SAE (or layer of neurons) id -> table `type_counts`, with every label. Columns: study,
    sae (then "all": the study's layers together), size (features of the layer), type (those of the scheme,
    then "typed": any of them), features with that label, expected by chance, and both as shares of size:
    share, chance. expected of "typed" is the sum over the types, that of "all" the sum over the layers; where
    a table's is the largest of several kinds of null, so are its parts, and the sum is an upper bound.
    """
    parts = [
        _of_layer(frame, scheme).assign(study=study, sae=sae)
        for study, layers in counts.items()
        for sae, frame in layers.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    whole = frame.groupby(["study", "type"], sort=False, as_index=False)[["size", "features", "expected"]]
    frame = pd.concat([frame, whole.sum().assign(sae=ALL_LAYERS)], ignore_index=True)
    order = {study: i for i, study in enumerate(counts)}
    frame = frame.sort_values("study", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    frame["share"], frame["chance"] = (frame[name] / frame["size"] for name in ("features", "expected"))
    return frame[["study", "sae", "size", "type", "features", "expected", "share", "chance"]]


def _of_layer(counts: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """Size, type, features, expected of the scheme's types, then of all of them together."""
    rows = scheme_counts(counts, scheme)
    types = rows.loc[[name for name in TYPES if name in rows.index], ["features", "expected"]]
    types.loc[TYPED] = types.sum()
    types = types.astype({"features": "int64"}).assign(size=int(rows["features"].sum()))
    return types.rename_axis("type").reset_index()


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
