"""How bimodal: the dip statistic of logit weights, beside that of null directions and of a matched sample.

The dip (Hartigan & Hartigan 1985; library `diptest`) is the largest distance between the distribution of a
feature's logit weights and the nearest unimodal one. The usual reference is the uniform distribution; what
counts here is whether the dip is larger than that of directions which mean nothing: Gaussian, with the second
moment of the layer's decoder rows.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fsrl.nulls import directions as null_directions
from fsrl.tables.claims import DIPS
from fsrl.weights import columns

PARTITION, MATCHED = "partition", "matched"
ROWS_PER_BLOCK = 256


def sample(types: pd.DataFrame, moments: pd.DataFrame, *, count: int, seed: int) -> pd.DataFrame:
    """Features to measure (columns feature, sample): at most `count` partitions of each scheme, and as many
    matched to them.

    types, moments: tables of one layer. A partition has that primary label under some scheme; where there are
    more than `count`, they are drawn at random. Each is matched with the feature nearest to it in std / norm
    among those that no scheme calls a partition, none of them twice.
    """
    partitions = types[types["type"] == "partition"]
    labelled = np.unique(partitions["feature"].to_numpy())
    of_schemes = [np.unique(part["feature"].to_numpy()) for _, part in partitions.groupby("scheme")]
    drawn = [np.random.default_rng(seed).permutation(own)[:count] for own in of_schemes]
    chosen = np.unique(np.concatenate([*drawn, labelled[:0]]))
    std = (moments["std"] / moments["norm"].replace(0.0, np.nan)).to_numpy(dtype=float)
    free = ~np.isnan(std) & moments["skewness"].notna().to_numpy()
    free[labelled] = False
    matched = []
    for feature in chosen[: int(free.sum())]:
        nearest = int(np.where(free, np.abs(std - std[feature]), np.inf).argmin())
        free[nearest] = False
        matched.append(nearest)
    frame = pd.DataFrame({"feature": np.concatenate([chosen, np.array(matched, dtype=int)]).astype(np.int32)})
    return frame.assign(sample=[PARTITION] * len(chosen) + [MATCHED] * len(matched)).astype({"sample": "str"})


def dips(
    rows: Float[Tensor, "features d_model"], W_U: Float[Tensor, "d_model n_tokens"]
) -> Float64[np.ndarray, "features"]:
    """Dip statistic of the logit weights of each of the rows under W_U."""
    import diptest

    found = []
    for block in rows.float().split(ROWS_PER_BLOCK):
        found += [diptest.dipstat(row.double().numpy()) for row in columns.product(block, W_U)]
    return np.array(found, dtype=float)


def null_dips(
    W_dec: Float[Tensor, "d_sae d_model"],
    W_U: Float[Tensor, "d_model n_tokens"],
    *,
    draws: int,
    seed: int,
) -> Float64[np.ndarray, "draws"]:
    """Dips, sorted, of directions with the second moment of the decoder's rows."""
    return np.sort(dips(torch.cat(list(null_directions.second_moment(W_dec, draws=draws, seed=seed))), W_U))


def of_rows(
    rows: Float[Tensor, "features d_model"],
    W_U: Float[Tensor, "d_model n_tokens"],
    null: Float64[np.ndarray, "draws"],
) -> Float64[np.ndarray, "features"]:
    """Of each row the share of `null_dips` that are smaller than its dip."""
    return np.searchsorted(null, dips(rows, W_U), side="left") / max(len(null), 1)


def measure(
    W_dec: Float[Tensor, "d_sae d_model"],
    W_U: Float[Tensor, "d_model n_tokens"],
    features: pd.DataFrame,
    null: Float64[np.ndarray, "draws"],
    *,
    sae: str,
) -> pd.DataFrame:
    """The table `dips` for the features of `sample`; null: of `null_dips`."""
    own = dips(W_dec[torch.from_numpy(features["feature"].to_numpy(dtype=np.int64))], W_U)
    frame = features.assign(sae=sae, dip=own)
    frame["null_quantile"] = np.searchsorted(null, own, side="left") / max(len(null), 1)
    return frame[list(DIPS.columns)].astype({"sae": "str"})
