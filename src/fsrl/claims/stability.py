"""Are types stable from layer to layer, or width to width? Shares, and what persistent features become."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from fsrl.names import TYPES
from fsrl.tables.sensitivity import PERSISTENCE, STABILITY

ROWS_PER_BLOCK = 1024
TAIL = 0.999
_PANDAS = {name: column.pandas_types[0] for name, column in PERSISTENCE.columns.items()}


def stability(counts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The table `stability` from the tables `type_counts` of a study's SAEs in one view."""
    every = pd.concat(counts, ignore_index=True)
    totals = _totals(counts)
    rows = []
    for (scheme, name), part in every[every["type"].isin(TYPES)].groupby(["scheme", "type"], sort=False):
        share = part["members"].to_numpy() / totals
        # That no null direction met a rule does not make its rate nought: one feature alone is no excess.
        limit = np.maximum(stats.binom.ppf(TAIL, totals, part["member_null_share"].to_numpy()), 1)
        above = int((part["members"].to_numpy() > limit).sum())
        spread = float(share.std(ddof=1)) if len(share) > 1 else np.nan
        rows.append((scheme, name, len(share), share.mean(), spread, share.min(), share.max(), above))
    return pd.DataFrame(rows, columns=list(STABILITY.columns)).astype({"scheme": "str", "type": "str"})


def persistence(
    saes: tuple[str, str], decoders: tuple[Tensor, Tensor], types: tuple[pd.DataFrame, pd.DataFrame], *,
    cosine: float,
) -> pd.DataFrame:  # fmt: skip
    """The table `persistence` of two SAEs, from W_dec [n, d_model] and table `types` of each in one view.

    A feature is matched with the row of the second decoder most like its own, if their cosine is above
    `cosine`.
    """
    target, similar = nearest(*decoders)
    matched = similar > cosine
    rows = []
    for scheme, mine in types[0].groupby("scheme", sort=False):
        labels = mine["type"].to_numpy(dtype=str)
        found = types[1].loc[types[1]["scheme"] == scheme, "type"].to_numpy(dtype=str)[target]
        for name in TYPES:
            own = (labels == name) & matched
            base = float((found[matched] == name).mean()) if matched.any() else 0.0
            same = int((found[own] == name).sum())
            rows.append(
                (
                    scheme,
                    name,
                    *saes,
                    int((labels == name).sum()),
                    int(own.sum()),
                    same,
                    base * int(own.sum()),
                )
            )
    text = dict.fromkeys(("scheme", "type", "first", "second"), "str")
    return pd.DataFrame(rows, columns=list(PERSISTENCE.columns)).astype(text)


def of_pairs(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The table `persistence` of a study; it has no rows where there is one SAE alone."""
    empty = pd.DataFrame({name: pd.Series(dtype=_PANDAS[name]) for name in PERSISTENCE.columns})
    return pd.concat(parts, ignore_index=True) if parts else empty


def nearest(first: Tensor, second: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """For each row of `first` the row of `second` with the largest cosine (int [n]), and that cosine."""
    second = torch.nn.functional.normalize(second.float(), dim=1)
    index, cosine = [], []
    for rows in first.float().split(ROWS_PER_BLOCK):
        best = (torch.nn.functional.normalize(rows, dim=1) @ second.T).max(dim=1)
        index.append(best.indices)
        cosine.append(best.values)
    return torch.cat(index).numpy(), torch.cat(cosine).numpy()


def _totals(counts: Sequence[pd.DataFrame]) -> np.ndarray:
    """Features of each SAE: primary labels of one scheme add up to all of them."""
    return np.array([int(table.groupby("scheme")["features"].sum().iloc[0]) for table in counts])
