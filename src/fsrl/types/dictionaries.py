"""The types of several dictionaries of one model side by side: SAE features and neurons, say."""

from collections.abc import Mapping

import pandas as pd

from fsrl.names import TYPES
from fsrl.types.select import scheme_counts

# Rows that stand for all layers of a dictionary, and for all types together.
ALL_LAYERS, TYPED = "all", "typed"


def dictionaries(counts: Mapping[str, Mapping[str, pd.DataFrame]], *, scheme: str) -> pd.DataFrame:
    """The types of several dictionaries of one model, layer by layer, beside what chance gives.

    counts: study -> SAE (or layer of neurons) id -> table `type_counts`, with every label. Columns: study,
    sae (then "all": the study's layers together), size (features of the layer), type (those of the scheme,
    then "typed": any of them), features with that label, expected by chance (as many fresh null directions by
    the layer's own bounds), and both as shares of size: share, chance. expected of "typed" is the sum over
    the types, that of "all" the sum over the layers; where a table's is the largest of several kinds of null,
    so are its parts, and the sum is an upper bound.
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
    types = rows.loc[[name for name in TYPES if name in rows.index], ["features", "expected_at_bounds"]]
    types = types.rename(columns={"expected_at_bounds": "expected"})
    types.loc[TYPED] = types.sum()
    types = types.astype({"features": "int64"}).assign(size=int(rows["features"].sum()))
    return types.rename_axis("type").reset_index()
