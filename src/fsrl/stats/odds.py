"""Is a token set more often significant for features of a type than for unclassified ones? Odds ratios.

For a type, a set and features counted as

                     significant   not
    of the type           a         b
    unclassified          c         d

the odds ratio is a d / (b c), with the correction of `fsrl.stats.two_groups.odds_ratio`, always added, which
keeps it finite. Features are not independent: an SAE has near copies of a direction, significant together.
So the interval comes from a bootstrap that draws whole clusters of similar decoder rows, with replacement.
A draw without any feature of the type, or any unclassified one, says nothing and is left out.

Simulated without any difference, groups of 20 to 1200 features and chances from .001 to .3, at most 7 % of
the intervals left out 1 (5 % are promised), but 13 % where clusters of 1 to 8 copies were significant as one
and about five of them were. With Haldane's correction it was up to 19 %: one significant feature of a small
type was enough. Now about four clusters with a significant feature of the type are needed: of fewer, more
than 2.5 % of draws hold none.

Example: 9 of 10 and 1 of 10 features give 9.5 * 9.5 / (1.5 * 1.5) = 40.1 (81 without the correction).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Int64, Shaped
from scipy import sparse
from scipy.sparse import csgraph
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.names import UNCLASSIFIED
from fsrl.stats import two_groups
from fsrl.weights.matrices import check_finite

SIDES = ("type", UNCLASSIFIED)  # as the columns n_ and k_ name them
INTERVAL = (0.025, 0.975)
ROWS_PER_BLOCK = 256
DRAWS_PER_BLOCK = 64


def decoder_clusters(
    W_dec: Float[Tensor, "features d_model"], *, threshold: float
) -> Int64[np.ndarray, "features"]:
    """Cluster of each row of W_dec, numbered from 0: linked by cosines above `threshold`.

    Connected components (single linkage), so two rows of a cluster may be less alike than the threshold. A
    row of zeros is alone. Memory: one block of 256 rows of cosines and its pairs, whatever the threshold. The
    products are computed where W_dec lies.
    Raises FsrlError for a threshold outside (0, 1) and for weights that are not finite.
    """
    if not 0 < threshold < 1:
        raise FsrlError(f"decoder clusters: threshold is {threshold}; a cosine between 0 and 1 is needed")
    check_finite("W_dec", W_dec)
    tiny = torch.finfo(torch.float32).tiny
    rows = torch.nn.functional.normalize(W_dec.detach().float(), dim=1, eps=tiny)
    n = len(rows)
    labels = np.arange(n)
    for start in range(0, n, ROWS_PER_BLOCK):
        # Pairs with earlier rows were seen in their blocks.
        cosines = rows[start : start + ROWS_PER_BLOCK] @ rows[start:].T
        pairs = (cosines > threshold).nonzero().cpu().numpy() + start
        # What was linked so far, as one edge per row to its cluster, beside the block's own pairs.
        left = np.concatenate([np.arange(n), pairs[:, 0]])
        right = np.concatenate([_representatives(labels), pairs[:, 1]])
        graph = sparse.coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(n, n))
        labels = csgraph.connected_components(graph, directed=False)[1]
    return labels.astype(np.int64)


def _representatives(labels: Int[np.ndarray, "features"]) -> Int64[np.ndarray, "features"]:
    """For each row, the first row with its label."""
    return np.unique(labels, return_index=True)[1][labels]


def odds_ratios(
    significant: Tensor | np.ndarray, types: Sequence[str], clusters: np.ndarray, *, draws: int, seed: int
) -> pd.DataFrame:
    """One row per type (other than unclassified, in order of name) and set.

    significant: bool [features, n_sets]; types: a label per feature; clusters: int [features], as
    `decoder_clusters` gives them; draws: of the bootstrap.
    Columns: type; set (column of `significant`); n_type, n_unclassified; k_type, k_unclassified: significant
    ones among them; clusters: those that hold a feature of the type; odds_ratio, low, high: with its 95 %
    percentile interval. The interval of a type in few clusters is rough. What cannot be said is null: the
    interval where the type lies in fewer than 2 clusters, and where none or all of one side is significant
    (no draw differs there); both where no feature is unclassified, and where none or all of all is.
    Raises FsrlError where the lengths differ, for draws < 1 and a negative seed.
    """
    flags = np.asarray(significant)
    labels = np.asarray(types, dtype=str)
    groups = np.unique(np.asarray(clusters), return_inverse=True)[1]
    if flags.dtype != bool or flags.ndim != 2 or not len(flags) == len(labels) == len(groups) > 0:
        raise FsrlError(
            f"odds ratios: significant is {flags.dtype} {list(flags.shape)} for {len(labels)} types and "
            f"{len(groups)} clusters; give bool [features, sets] and one type and one cluster per feature"
        )
    if draws < 1 or seed < 0:
        raise FsrlError(f"odds ratios: draws is {draws} and seed is {seed}; draws from 1, seed from 0")
    names = np.array([*sorted(set(labels) - {UNCLASSIFIED}), UNCLASSIFIED])
    per_cluster = _per_cluster(flags, names, labels, groups)
    ones = np.ones((1, per_cluster.shape[0]))
    shape = (len(names), 1 + flags.shape[1])
    totals = (ones @ per_cluster).reshape(1, *shape)
    ratios = _ratios(totals)
    low, high = _interval(per_cluster, shape, draws, seed)
    spread = np.array([len(set(groups[labels == name])) for name in names[:-1]], dtype=np.int64)
    return _table(names[:-1], totals[0], ratios[0], low, high, spread)


def _per_cluster(
    flags: Bool[np.ndarray, "features n_sets"],
    names: Shaped[np.ndarray, "labels"],
    labels: Shaped[np.ndarray, "features"],
    groups: Int[np.ndarray, "features"],
) -> sparse.csr_array:
    """Counts [n_clusters, labels * (1 + n_sets)]: a type's features, then the significant ones by set."""
    n, width = len(flags), 1 + flags.shape[1]
    kind = np.searchsorted(names[:-1], labels)
    kind[labels == UNCLASSIFIED] = len(names) - 1
    feature, column = np.nonzero(flags)
    rows = np.concatenate([groups, groups[feature]])
    columns = np.concatenate([kind * width, kind[feature] * width + 1 + column])
    shape = (int(groups.max()) + 1, len(names) * width)
    return sparse.csr_array((np.ones(n + len(feature)), (rows, columns)), shape=shape)


def _ratios(
    counts: Float[np.ndarray, "draws labels columns"],
) -> Float[np.ndarray, "draws labels-1 columns-1"]:
    """Odds ratios of counts, whose columns are a label's features and then each set's; NaN without any."""
    size, yes = counts[:, :, :1], counts[:, :, 1:]
    return two_groups.odds_ratio(yes[:, :-1], size[:, :-1], yes[:, -1:], size[:, -1:])


def _interval(
    per_cluster: sparse.csr_array, shape: tuple[int, int], draws: int, seed: int
) -> tuple[Float[np.ndarray, "types n_sets"], Float[np.ndarray, "types n_sets"]]:
    """Both percentiles of the odds ratio over draws of clusters; shape: labels, 1 + n_sets."""
    n_clusters = per_cluster.shape[0]
    generator = np.random.default_rng(seed)
    found = np.empty((draws, shape[0] - 1, shape[1] - 1), dtype=np.float32)
    for start in range(0, draws, DRAWS_PER_BLOCK):
        block = found[start : start + DRAWS_PER_BLOCK]
        times = np.stack(
            [
                np.bincount(generator.integers(n_clusters, size=n_clusters), minlength=n_clusters)
                for _ in block
            ]
        )
        counts = (per_cluster.T @ times.T.astype(np.float64)).T
        block[:] = _ratios(counts.reshape(-1, *shape))
    low, high = np.full((2, *found.shape[1:]), np.nan)
    for kind in range(found.shape[1]):
        # All sets of a draw lack features together.
        drawn = found[~np.isnan(found[:, kind]).any(axis=1), kind]
        if len(drawn):
            low[kind], high[kind] = np.quantile(drawn, INTERVAL, axis=0)
    return low, high


def _table(
    names: Shaped[np.ndarray, "types"],
    totals: Float[np.ndarray, "labels columns"],
    ratios: Float[np.ndarray, "types n_sets"],
    low: Float[np.ndarray, "types n_sets"],
    high: Float[np.ndarray, "types n_sets"],
    spread: Int64[np.ndarray, "types"],
) -> pd.DataFrame:
    n_types, n_sets = ratios.shape
    counts = totals.astype(np.int64)
    none = counts[-1, 0] == 0
    frame = pd.DataFrame(
        {
            "type": np.repeat(names, n_sets).astype(object),
            "set": np.tile(np.arange(n_sets), n_types),
            "n_type": np.repeat(counts[:-1, 0], n_sets),
            "n_unclassified": counts[-1, 0],
            "k_type": counts[:-1, 1:].reshape(-1),
            "k_unclassified": np.tile(counts[-1, 1:], n_types),
            "clusters": np.repeat(spread, n_sets),
            "odds_ratio": ratios.reshape(-1),
            "low": low.reshape(-1),
            "high": high.reshape(-1),
        }
    ).astype({"type": "str"})
    constant = [(frame[f"k_{side}"] == 0) | (frame[f"k_{side}"] == frame[f"n_{side}"]) for side in SIDES]
    same = (frame["k_type"] == 0) == (frame["k_unclassified"] == 0)
    frame.loc[(frame["clusters"] < 2) | constant[0] | constant[1] | none, ["low", "high"]] = np.nan
    frame.loc[(constant[0] & constant[1] & same) | none, "odds_ratio"] = np.nan
    return frame
