"""From the tensors of `fsrl.enrichment` to the tables of `fsrl.tables.enrichment`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

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
