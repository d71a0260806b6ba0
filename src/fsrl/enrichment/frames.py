"""From the tensors of `fsrl.enrichment` to the tables of `fsrl.tables.enrichment`."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64

from fsrl.enrichment.statistics import SetStatistics
from fsrl.errors import FsrlError
from fsrl.tables.enrichment import ENRICHMENT


def enrichment_frame(statistics: SetStatistics, sets: Sequence[str]) -> pd.DataFrame:
    """The table `enrichment`, features in order and for each of them the sets in the given order.

    Raises FsrlError where there are not as many names as sets.
    """
    n_features, n_sets = statistics.z.shape
    if n_sets != len(sets):
        raise FsrlError(f"enrichment table: statistics of {n_sets} sets for {len(sets)} names")
    names = pd.Categorical.from_codes(np.tile(np.arange(n_sets), n_features), list(sets))
    columns = {
        "feature": np.repeat(np.arange(n_features, dtype=np.int32), n_sets),
        "set": pd.Series(names).astype("str"),
    }
    for name in list(ENRICHMENT.columns)[2:]:
        values = getattr(statistics, name)
        absent = np.full(n_features * n_sets, np.nan, dtype=np.float32)
        columns[name] = absent if values is None else values.numpy().reshape(-1)
    return pd.DataFrame(columns)


def null_p_values_frame(
    log10_p: Mapping[str, Float64[np.ndarray, "draws n_sets"]], sets: Sequence[str], sae: str
) -> pd.DataFrame:
    """The table `null_p_values` of one layer, from `fsrl.enrichment.calibration.null_log10_p`; sets:
    names."""
    draws = len(log10_p["t"])
    return pd.DataFrame(
        {
            "sae": sae,
            "draw": np.repeat(np.arange(draws, dtype=np.int32), len(sets)),
            "set": np.tile(np.asarray(sets, dtype=object), draws),
            "log10_p_t": log10_p["t"].ravel(),
            "log10_p_z": log10_p["z"].ravel(),
        }
    ).astype({"sae": "str", "set": "str"})
