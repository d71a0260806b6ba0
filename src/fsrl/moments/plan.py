"""How the moments pass is cut up: tiles that fit the cache, panels that fit memory, one block per thread.

The grid of tiles depends on the cache and the dtype only. Threads and panels take whole tiles of that grid
and sums are added in its order, so neither the number of threads nor the memory limit changes a byte.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from fsrl.errors import FsrlError

# Like `map`: a function and its items give the results, one by one.
InOrder = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]

MIB = 2**20
# Where the machine does not tell the size of a core's second-level cache.
DEFAULT_CACHE = MIB
# Without a limit, room for everything held beside the inputs, whatever the size of the model.
DEFAULT_MEMORY = 400 * MIB
# What the process grows by for any shape (measured): numba and LLVM, the libraries' scratch memory.
LIBRARIES = 160 * MIB
PER_THREAD = 24 * MIB


@dataclass(frozen=True)
class Shape:
    """What the memory of a run follows from; bytes of a prepared weight of W_U, and of an item of a tile;
    how many readings of the product are kept.
    """

    n: int
    d_model: int
    d_vocab: int
    n_extremes: int
    n_bins: int
    weight_bytes: int
    item_bytes: int
    readings: int = 1


def cache_bytes(device: torch.device) -> int:
    """Size of the cache that a tile should stay in: a core's second level, or the GPU's."""
    if device.type == "cuda":
        # Many kernels run over a tile there, each with a fixed cost: larger tiles than the cache pay.
        return 8 * int(torch.cuda.get_device_properties(device).L2_cache_size)
    return int(torch.cpu.get_capabilities().get("l2_cache_size", 0)) or DEFAULT_CACHE


def tile_shape(cache: int, item_bytes: int) -> tuple[int, int]:
    """(features, tokens) of a tile that fills half the cache; powers of two, tokens >= features."""
    elements = max(cache // (2 * item_bytes), 64)
    features = 2 ** ((elements.bit_length() - 1) // 2)
    return features, 2 ** ((elements // features).bit_length() - 1)


def panel_tokens(shape: Shape, tile: tuple[int, int], threads: int, limit: int | None) -> int:
    """Tokens of W_U to hold prepared at once: all, or as many whole tiles as the memory limit has room for.

    limit: bytes above the inputs. Raises FsrlError where not even one tile's tokens fit.
    """
    features, tokens = tile
    state = shape.n * (144 + 16 * (shape.n_bins + 2) + 2 * shape.n_extremes * (16 + shape.item_bytes))
    # A reading's columns and factors: at once, and cut into tiles.
    lens = shape.d_vocab * (24 + shape.item_bytes)
    weights = shape.d_model * (tokens + features) * (16 + 2 * shape.weight_bytes)
    gram = 8 * shape.d_model**2 * (threads + 2 + shape.readings) if shape.n_bins else 0
    # More by 64 columns a tile: their padding, and what the allocator leaves between them (measured).
    column = shape.d_model * shape.weight_bytes * (tokens + 64) // tokens
    # Gram matrices are made before the panels; the room of their partial sums is theirs afterwards.
    tiles = 5 * features * tokens * shape.item_bytes
    fixed = LIBRARIES + shape.readings * (state + lens) + threads * (weights + tiles + PER_THREAD)
    needed = fixed + max(gram, column * min(tokens, shape.d_vocab))
    if limit is not None and limit < needed:
        raise FsrlError(
            f"moments: memory_limit is {limit / MIB:.0f} MiB; this shape on {threads} threads needs at least"
            f" {-(-needed // MIB)} MiB above the inputs: raise it, or pass fewer features at a time"
        )
    room = max(DEFAULT_MEMORY if limit is None else limit, needed) - fixed
    fits = room // column // tokens * tokens
    return max(fits, tokens)


@contextmanager
def workers(threads: int) -> Iterator[InOrder]:
    """A `map` over `threads` threads: results in the items' order, few of them waiting at a time.

    Every worker runs torch on itself alone: whole blocks side by side scale better than one product shared
    by all, and what a block gives does not depend on how many threads there are.
    """
    if threads == 1:
        yield map
        return
    # set_num_threads counts for the thread that calls it, and for threads begun later: restored at the end.
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield partial(_in_order, pool, threads)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _in_order(
    pool: ThreadPoolExecutor, threads: int, function: Callable[[Any], Any], items: Iterable[Any]
) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
