"""The types of several dictionaries of one model side by side: SAE features and neurons, say."""

from collections.abc import Mapping

import pandas as pd

from fsrl.names import BOUNDING, TYPES
from fsrl.types.select import chance_by_kind, scheme_counts

# Rows that stand for all layers of a dictionary, for all types together, and for features without a type.
ALL_LAYERS, TYPED, UNTYPED = "all", "typed", "untyped"


def dictionaries(
    counts: Mapping[str, Mapping[str, pd.DataFrame]],
    null_counts: Mapping[str, Mapping[str, pd.DataFrame]],
    *,
    scheme: str,
) -> pd.DataFrame:
    """The types of several dictionaries of one model, layer by layer, beside what chance gives.

    counts, null_counts: study -> SAE (or layer of neurons) id -> table `type_counts`, with every label, and
    table `type_null_counts`. Columns: study, sae (then "all": the study's layers together), size (features of
    the layer), type (those of the scheme, then "typed": any of them), features with that label, expected by
    chance (as many fresh null directions by the layer's own bounds), and both as shares of size: share,
    chance. expected is of the bounding kind of null that gives most in that row: sums over types and layers
    are of one kind each.
    """
    parts = [
        _of_layer(frame, null_counts[study][sae], scheme).assign(study=study, sae=sae)
        for study, layers in counts.items()
        for sae, frame in layers.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    kinds = [name for name in BOUNDING if name in frame]
    sums = ["size", "features", *kinds]
    whole = frame.groupby(["study", "type"], sort=False, as_index=False)[sums].sum()
    frame = pd.concat([frame, whole.assign(sae=ALL_LAYERS)], ignore_index=True)
    order = {study: i for i, study in enumerate(counts)}
    frame = frame.sort_values("study", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    frame["expected"] = frame[kinds].max(axis=1)
    frame["share"], frame["chance"] = (frame[name] / frame["size"] for name in ("features", "expected"))
    return frame[["study", "sae", "size", "type", "features", "expected", "share", "chance"]]


def _of_layer(counts: pd.DataFrame, null_counts: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """Size, type, features and what each bounding kind gives, of the types, then of them together."""
    rows = scheme_counts(counts, scheme)
    names = [name for name in TYPES if name in rows.index]
    types = rows.loc[names, ["features"]].join(chance_by_kind([null_counts], scheme))
    types.loc[TYPED] = types.sum()
    types = types.astype({"features": "int64"}).assign(size=int(rows["features"].sum()))
    return types.rename_axis("type").reset_index()
