"""Effect sizes of a token set by rank: AUC and the signed running-sum score, for a chosen few features.

Order the V tokens by descending logit weight and walk down: +1/m on a member of the set (of size m), and
-1/(V - m) on any other token. The score (ES) is the running sum's value farthest from zero, with its sign:
+1 where the members come first (promoted), -1 where they come last. Its absolute value is that of SAELens'
`tutorial.tsea.get_enrichment_df`, which loses the sign. AUC is the probability that a member's weight is
above another token's, ties counting half: (sum of the members' midranks - m (m + 1) / 2) / (m (V - m)), ranks
ascending. Neither comes with a p-value: see `fsrl.enrichment`.

Only the members' ranks matter. With p_0 < p_1 < ... the members' places from the top, the running sum is
((V - m) (j + 1) - m (p_j - j)) / (m (V - m)) after member j and 1/m less before it, and has its extremes
there. Tokens of equal weight are stepped over together, so that their order does not matter. (SAELens takes
them in whatever order an unstable sort leaves them in; float32 logits of 50257 tokens have some 17 ties.)

Example: of the logit weights (3, 2, 1, 0), the set of the first and the last token has ES 1/2 and AUC 1/2.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Float64, Int, Int32, Int64, Integer
from scipy import sparse
from torch import Tensor

from fsrl.enrichment.statistics import check_arguments, testable
from fsrl.errors import FsrlError
from fsrl.weights import columns

ROWS_PER_PRODUCT = 256
# A tile's ranks and their copies, a few MiB, stay in the cache that the cores share.
ROWS_PER_TILE = 8


@dataclass(frozen=True, eq=False)
class SignedScores:
    """auc (0 to 1), es (-1 to 1): NaN for sets that `fsrl.enrichment` does not test."""

    auc: Float64[Tensor, "features n_sets"]
    es: Float64[Tensor, "features n_sets"]


def signed_scores(W_dec: Tensor, W_U: Tensor, sets: Tensor, features: Tensor) -> SignedScores:
    """Scores of the rows `features` of W_dec [d_sae, d_model], in that order, for all sets.

    W_U: [d_model, n_tokens]; sets: bool [n_sets, n_tokens]; features: int64 [features]. Logit weights are
    float32, multiplied where W_U lies and ranked on the CPU, by as many threads as torch is set to. Raises
    FsrlError for weights that are not finite, shapes that do not fit and features out of range.
    """
    check_arguments(W_dec, W_U, sets)
    features = torch.as_tensor(features, dtype=torch.int64)
    if features.dim() != 1 or bool(((features < 0) | (features >= len(W_dec))).any()):
        raise FsrlError(f"enrichment: features must be a list of rows, each from 0 to {len(W_dec) - 1}")
    W_U = W_U.detach().float()
    logits = torch.empty(min(ROWS_PER_PRODUCT, len(features)), W_U.shape[1], device=W_U.device)
    parts = []
    for chosen in features.split(ROWS_PER_PRODUCT):
        rows = W_dec[chosen.to(W_dec.device)].detach().to(W_U)
        parts.append(scores_of_logits(columns.product(rows, W_U, out=logits[: len(chosen)]), sets))
    empty = torch.empty(0, len(sets), dtype=torch.float64)
    return SignedScores(
        torch.cat([empty, *(part.auc for part in parts)]), torch.cat([empty, *(part.es for part in parts)])
    )


def scores_of_logits(
    logits: Float32[Tensor, "features n_tokens"], sets: Bool[Tensor, "n_sets n_tokens"]
) -> SignedScores:
    """Scores of rows of logit weights, all finite, for sets."""
    walk = _Walk(sets.detach().cpu().numpy())
    rows = logits.detach().cpu().numpy()
    auc = np.full((len(rows), len(sets)), np.nan)
    es = np.full_like(auc, np.nan)

    def work(chosen: np.ndarray) -> None:
        """Fill the rows of the tiles that begin at these numbers."""
        buffers = _Buffers.of(walk)
        for start in chosen:
            tile = slice(start, start + ROWS_PER_TILE)
            walk.scores(rows[tile], buffers, auc[tile], es[tile])

    # numpy's sort and arithmetic release the interpreter, so threads share the cores.
    n_threads = torch.get_num_threads()
    with ThreadPoolExecutor(max_workers=n_threads) as pool:
        list(pool.map(work, np.array_split(np.arange(0, len(rows), ROWS_PER_TILE), n_threads)))
    return SignedScores(torch.from_numpy(auc), torch.from_numpy(es))


@dataclass(frozen=True, eq=False)
class _Ranks:
    """Places of tokens from the largest weight down, 0 first; equal weights share their first place.

    first: by token; last: by place, the last place that shares its weight; extra: last - first by token, for
    the few that are not 0.
    """

    first: Integer[np.ndarray, "rows n_tokens"]
    last: Integer[np.ndarray, "rows n_tokens"]
    extra: sparse.csr_array


class _Walk:
    """The tested sets' members laid end to end, and what does not depend on the row."""

    def __init__(self, sets: Bool[np.ndarray, "n_sets n_tokens"]) -> None:
        self.n_tokens = sets.shape[1]
        self.sizes = sets.sum(axis=1)
        self.tested = np.flatnonzero(testable(torch.from_numpy(sets)).numpy())
        self.members = np.nonzero(sets)[1]
        self.ends = np.cumsum(self.sizes)
        self.by_token = sparse.csr_array(sets.T, dtype=np.int64)
        # 16-bit places sort several times faster.
        self.place = np.uint16 if self.n_tokens <= 2**16 else np.int32
        # j (V - m) + j m = j V, the part of the running sum that does not depend on the row.
        self.steps = np.arange(self.sizes.max(initial=0)) * float(self.n_tokens)

    def scores(
        self,
        logits: Float32[np.ndarray, "rows n_tokens"],
        buffers: "_Buffers",
        auc: Float64[np.ndarray, "rows n_sets"],
        es: Float64[np.ndarray, "rows n_sets"],
    ) -> None:
        """Fill auc and es."""
        ranks = _ranks(logits, buffers)
        places = np.take(ranks.first, self.members, axis=1, out=buffers.members[: len(logits)], mode="clip")
        extra = (ranks.extra @ self.by_token).toarray()
        for index in self.tested:
            size, end = self.sizes[index], self.ends[index]
            own = places[:, end - size : end]
            middle = (own.sum(axis=1, dtype=np.int64) + extra[:, index] / 2) / size
            auc[:, index] = (self.n_tokens - 1 - middle - (size - 1) / 2) / (self.n_tokens - size)
            own.sort(axis=1)
            es[:, index] = self._es(own, ranks.last)

    def _es(
        self, places: Integer[np.ndarray, "rows members"], last: Integer[np.ndarray, "rows n_tokens"]
    ) -> Float64[np.ndarray, "rows"]:
        """From the members' first places, ascending: the sum dips before a tie and peaks after it."""
        size, others = places.shape[1], self.n_tokens - places.shape[1]
        sums = self.steps[:size] - places * float(size)
        bottom = sums.min(axis=1)
        peaks = sums.argmax(axis=1)
        rows = np.arange(len(sums))
        top = sums[rows, peaks]
        # Where the peak is at a tie, it is lower than this or elsewhere: step over the ties of that row.
        at = places[rows, peaks]
        for row in np.flatnonzero(last[rows, at] != at):
            top[row] = (self.steps[:size] - last[row, places[row]] * float(size)).max()
        top += others
        return np.where(top >= -bottom, top, bottom) / (float(size) * others)


@dataclass(frozen=True, eq=False)
class _Buffers:
    """A thread's own memory, used again for each tile: fresh pages cost as much as the sort."""

    packed: Int64[np.ndarray, "tile n_tokens"]
    keys: Int32[np.ndarray, "tile n_tokens"]
    first: Integer[np.ndarray, "tile n_tokens"]
    last: Integer[np.ndarray, "tile n_tokens"]
    members: Integer[np.ndarray, "tile sum_of_sizes"]

    @classmethod
    def of(cls, walk: _Walk) -> "_Buffers":
        """Memory for tiles of the sets of `walk`."""
        shape = (ROWS_PER_TILE, walk.n_tokens)
        members = np.empty((ROWS_PER_TILE, len(walk.members)), walk.place)
        return cls(
            np.empty(shape, np.int64),
            np.empty(shape, np.int32),
            np.empty(shape, walk.place),
            np.empty(shape, walk.place),
            members,
        )


def _ranks(logits: Float32[np.ndarray, "rows n_tokens"], buffers: _Buffers) -> _Ranks:
    """Ranks of each row of logits."""
    rows, n_tokens = logits.shape
    packed, first, last = buffers.packed[:rows], buffers.first[:rows], buffers.last[:rows]
    # A float's bits, those of negative ones flipped, order as integers do; ~ makes the order descending.
    keys = np.add(logits, np.float32(0), out=buffers.keys[:rows].view(np.float32)).view(np.int32)  # -0 is 0
    keys ^= (keys >> 31) & 0x7FFFFFFF
    np.left_shift(~keys, 32, out=packed, dtype=np.int64)
    packed |= np.arange(n_tokens)
    packed.sort(axis=1)
    # Equal keys differ in the token's bits only.
    equal = np.zeros((rows, n_tokens), dtype=bool)
    np.less((packed[:, 1:] ^ packed[:, :-1]).view(np.uint64), 2**32, out=equal[:, :-1])
    packed &= 0xFFFFFFFF
    last[:] = np.arange(n_tokens)
    for row, order in zip(first, packed, strict=True):
        row[order] = last[0]
    start, length = _runs(np.flatnonzero(equal))
    tied = np.repeat(start - np.cumsum(length) + length, length) + np.arange(length.sum())
    row, token = tied // n_tokens, packed.reshape(-1)[tied]
    begin, extra = np.repeat(start % n_tokens, length), np.repeat(length - 1, length)
    first[row, token] = begin
    last.reshape(-1)[tied] = begin + extra
    return _Ranks(first, last, sparse.csr_array((extra, (row, token)), shape=logits.shape))


def _runs(
    equal_to_next: Int64[np.ndarray, "places"],
) -> tuple[Int64[np.ndarray, "runs"], Int64[np.ndarray, "runs"]]:
    """First place and length of each run of equals, from the places (ascending) that equal the next."""
    new = np.diff(equal_to_next, prepend=-2) != 1
    start = equal_to_next[new]
    length = np.diff(np.append(np.flatnonzero(new), len(equal_to_next))) + 1
    return start, length


def scores_frame(
    scores: SignedScores, features: Int[np.ndarray, "features"], sets: Sequence[str]
) -> pd.DataFrame:
    """The table `scores` for the features and sets that the scores were computed for."""
    names = np.array(sets, dtype=object)
    return pd.DataFrame(
        {
            "feature": np.repeat(features.astype(np.int32), len(names)),
            "set": pd.Series(np.tile(names, len(features)), dtype="str"),
            "auc": scores.auc.numpy().reshape(-1).astype(np.float32),
            "es": scores.es.numpy().reshape(-1).astype(np.float32),
        }
    )
