"""The large tables of enrichment, read from disk: token sets, and single columns of every feature and set."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32

from fsrl.errors import FsrlError
from fsrl.tables import core as tables
from fsrl.tables.enrichment import token_sets_table


def read_token_sets(path: str | Path) -> pd.DataFrame:
    """One row a token id, one bool column a set; FsrlError where the file is missing or something else."""
    names = tables.column_names(path)
    table = token_sets_table({name: "" for name in names if name != "token_id"})
    return tables.read(path, table).drop(columns="token_id")


def statistic(
    path: str | Path, *columns: str
) -> tuple[list[str], list[Float32[np.ndarray, "features n_sets"]]]:
    """Sets and columns (NaN for null) of a table `enrichment` on disk.

    Reads those columns alone: a table of an SAE of GPT-2 has 2 million rows. Raises FsrlError where the file
    is missing, lacks a column or does not hold every set for every feature in order.
    """
    wanted, there = ["feature", "set", *columns], tables.column_names(path)
    if lacking := [name for name in wanted if name not in there]:
        raise FsrlError(f"{path}: no column {lacking[0]}; build it again")
    found = tables.read_columns(path, wanted)
    feature = found.column("feature").to_numpy()
    n_sets = int(np.searchsorted(feature, feature[0], side="right")) if len(feature) else 0
    shape = (len(feature) // max(n_sets, 1), n_sets)
    if not np.array_equal(feature, np.repeat(np.arange(shape[0], dtype=np.int32), n_sets)):
        raise FsrlError(f"{path}: not every feature has every set, in order; build it again")
    sets = found.column("set").slice(0, n_sets).to_pylist()
    return sets, [found.column(name).to_numpy().astype(np.float32).reshape(shape) for name in columns]
