"""Interpolated modified Kneser-Ney trigram, the yardstick of the embedded language model.

Chen & Goodman (1998), "An Empirical Study of Smoothing Techniques for Language Modeling", section 3: three
discounts per order, continuation counts below the highest order, no pruning. Counts are held as sorted
arrays, so that 40 million tokens take seconds and a few gigabytes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Integer

TokenIds = Integer[np.ndarray, "*any"]


@dataclass(frozen=True)
class _Order:
    """One order: sorted n-gram keys with (continuation) counts, and per context the total and the discounted
    mass.
    """

    keys: Int64[np.ndarray, "n_grams"]
    counts: Int64[np.ndarray, "n_grams"]
    contexts: Int64[np.ndarray, "contexts"]
    totals: Int64[np.ndarray, "contexts"]
    left_over: Float64[np.ndarray, "contexts"]
    discounts: Float64[np.ndarray, "3"]


def discounts(counts: Integer[np.ndarray, "n_grams"]) -> Float64[np.ndarray, "3"]:
    """D1, D2, D3+ from the counts of counts (Chen & Goodman, equation 26), kept within 0..count."""
    n1, n2, n3, n4 = (max(int((counts == k).sum()), 1) for k in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    return np.clip([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3], 0.0, [1.0, 2.0, 3.0])


def _order(keys: np.ndarray, counts: np.ndarray, base: int) -> _Order:
    d = discounts(counts)
    removed = d[np.minimum(counts, 3) - 1]
    contexts, starts = np.unique(keys // base, return_index=True)
    totals = np.add.reduceat(counts, starts)
    left_over = np.add.reduceat(removed, starts)
    return _Order(keys, counts, contexts, totals, left_over, d)


class Trigram:
    """A trigram model of a stream of token ids in [0, d_vocab)."""

    def __init__(self, stream: np.ndarray, d_vocab: int) -> None:
        self.d_vocab = v = d_vocab
        ids = stream.astype(np.int64)
        keys3, counts3 = np.unique((ids[:-2] * v + ids[1:-1]) * v + ids[2:], return_counts=True)
        # Below the highest order a word counts by how many different words come before it.
        keys2, counts2 = np.unique(keys3 % (v * v), return_counts=True)
        keys1, counts1 = np.unique(keys2 % v, return_counts=True)
        self.orders = [_order(keys1, counts1, v), _order(keys2, counts2, v), _order(keys3, counts3, v)]

    def probability(self, first: TokenIds, second: TokenIds, third: TokenIds) -> Float64[np.ndarray, "*any"]:
        """p(third | first, second)."""
        a, b, c = (np.asarray(x, dtype=np.int64) for x in (first, second, third))
        p = np.full(c.shape, 1.0 / self.d_vocab)
        contexts = (np.zeros_like(c), b, a * self.d_vocab + b)
        for order, context in zip(self.orders, contexts, strict=True):
            p = self._interpolate(order, context, context * self.d_vocab + c, p)
        return p

    @staticmethod
    def _interpolate(order: _Order, context: np.ndarray, key: np.ndarray, lower: np.ndarray) -> np.ndarray:
        at = np.minimum(np.searchsorted(order.keys, key), len(order.keys) - 1)
        count = np.where(order.keys[at] == key, order.counts[at], 0)
        discount = np.where(count > 0, order.discounts[np.minimum(np.maximum(count, 1), 3) - 1], 0.0)
        ctx = np.minimum(np.searchsorted(order.contexts, context), len(order.contexts) - 1)
        known = order.contexts[ctx] == context
        total = np.where(known, order.totals[ctx], 1)
        seen = (np.maximum(count - discount, 0.0) + order.left_over[ctx] * lower) / total
        return np.where(known, seen, lower)

    def nats_per_token(self, stream: np.ndarray) -> float:
        """Mean -ln p over the stream, from its third token on."""
        return float(-np.log(self.probability(stream[:-2], stream[1:-1], stream[2:])).mean())
