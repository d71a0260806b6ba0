"""The pass over a tile on a GPU: what `fsrl.moments.sweep` does in torch, in one Triton kernel.

A program is one warp and takes one row, some columns at a time: each value is loaded once, read as the
reading has it, and stays in a register for the sums, the counts and the comparison with the last extreme
token kept. No other program writes that row's state, so nothing is added atomically and every run gives the
same bytes. Compiled at the first call (seconds, once per machine: Triton keeps the code in ~/.triton).
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int64
from torch import Tensor

# Columns at a time, 16 a lane; their sums are in the tile's dtype, those of all columns in float64.
COLUMNS = 512
# Beyond these a row's list or its counters no longer fit a warp's registers.
MOST_EXTREMES, MOST_SLOTS = 64, 1024


@triton.jit
def _total(values):
    return tl.sum(values, 0).to(tl.float64)


@triton.jit
def _added_powers(sums, values):
    """`fsrl.moments.sweep.POWERS`, of more values."""
    squares = values * values
    fourths = squares * squares
    right = tl.where(values > 0, fourths, 0.0)
    left = tl.where(values > 0, 0.0, fourths)
    return (
        sums[0] + _total(squares),
        sums[1] + _total(squares * values),
        sums[2] + _total(right),
        sums[3] + _total(left),
        sums[4] + _total(right * right),
        sums[5] + _total(left * left),
    )


@triton.jit
def _last(best, K: tl.constexpr):
    return tl.max(tl.where(tl.arange(0, best.shape[0]) == K - 1, best, -float("inf")), 0)


@triton.jit
def _shifted(best, here, value):
    """The list with the value at its place `here`, and what stood there and after it one place on."""
    place = tl.arange(0, best.shape[0])
    moved = tl.gather(best, tl.maximum(place - 1, 0), 0)
    return tl.where(place < here, best, tl.where(place == here, value, moved))


@triton.jit
def _kept(best, ids, values, first, K: tl.constexpr):
    """A descending list and its ids with what beats the last of K values, after its equals: they came first.

    The largest goes first, the lower of equal columns; after K of them no other can be in.
    """
    columns = tl.arange(0, values.shape[0])
    value, column = tl.max(values, 0, return_indices=True)
    while value > _last(best, K):
        here = tl.sum((best >= value).to(tl.int32), 0)
        best, ids = _shifted(best, here, value), _shifted(ids, here, first + column)
        values = tl.where(columns == column, -float("inf"), values)
        value, column = tl.max(values, 0, return_indices=True)
    return best, ids


@triton.jit
def _counts(values, inside, bins_per_unit, N_BINS: tl.constexpr, SLOTS: tl.constexpr):
    slots = tl.floor(values * bins_per_unit + N_BINS / 2)
    slots = tl.minimum(tl.maximum(slots, -1.0), float(N_BINS)).to(tl.int32) + 1
    return tl.histogram(slots, SLOTS, mask=inside)


@triton.jit
def _read(tile, strides, columns, vectors, token, inside):
    """A row's values at a reading's tokens: of the tile as it is where there are no vectors."""
    row = tl.program_id(0).to(tl.int64)
    column = token
    if columns is not None:
        column = tl.load(columns + token, mask=inside, other=0)
    values = tl.load(tile + row * strides[0] + column * strides[1], mask=inside, other=0.0)
    if vectors is not None:
        factors = tl.load(vectors[0] + token, mask=inside, other=0.0)
        values = (values - tl.load(vectors[1] + row)) * factors - tl.load(vectors[2] + row)
    return values


@triton.jit
def _loaded(best, ids, K: tl.constexpr, PLACES: tl.constexpr):
    place = tl.arange(0, PLACES)
    at = tl.program_id(0).to(tl.int64) * K + place
    return tl.load(best + at, mask=place < K, other=-float("inf")), tl.load(ids + at, mask=place < K, other=0)


@triton.jit
def _store(best, ids, kept, K: tl.constexpr, PLACES: tl.constexpr):
    place = tl.arange(0, PLACES)
    at = tl.program_id(0).to(tl.int64) * K + place
    tl.store(best + at, kept[0], mask=place < K)
    tl.store(ids + at, kept[1], mask=place < K)


@triton.jit(do_not_specialize=["start"])
def _sweep(
    tile,
    strides,
    columns,
    vectors,
    width,
    start,
    state,
    K: tl.constexpr,
    PLACES: tl.constexpr,
    N_BINS: tl.constexpr,
    SLOTS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    units, sums, top, top_ids, bottom, bottom_ids, bins_per_unit, slots = state
    row = tl.program_id(0).to(tl.int64)
    unit, bins = tl.load(units + row), tl.load(bins_per_unit + row)
    zero = tl.zeros((), tl.float64)
    added = (zero, zero, zero, zero, zero, zero)
    if K:
        largest, smallest = _loaded(top, top_ids, K, PLACES), _loaded(bottom, bottom_ids, K, PLACES)
    counts = tl.zeros((SLOTS,), tl.int32)
    for begin in range(0, width, COLUMNS):
        token = begin + tl.arange(0, COLUMNS)
        inside = token < width
        values = _read(tile, strides, columns, vectors, token, inside)
        if K:
            first = (start + begin).to(tl.int64)
            largest = _kept(largest[0], largest[1], tl.where(inside, values, -float("inf")), first, K)
            smallest = _kept(smallest[0], smallest[1], tl.where(inside, -values, -float("inf")), first, K)
        if N_BINS:
            counts += _counts(values, inside, bins, N_BINS, SLOTS)
        added = _added_powers(added, tl.where(inside, values, 0.0) * unit)
    for power in tl.static_range(len(added)):
        at = sums + row * len(added) + power
        tl.store(at, tl.load(at) + added[power])
    if K:
        _store(top, top_ids, largest, K, PLACES)
        _store(bottom, bottom_ids, smallest, K, PLACES)
    if N_BINS:
        slot = tl.arange(0, SLOTS)
        at = slots + row * (N_BINS + 2) + slot
        tl.store(at, tl.load(at, mask=slot < N_BINS + 2, other=0) + counts, mask=slot < N_BINS + 2)


def fits(state: tuple[Tensor, ...]) -> bool:
    """Whether the kernel keeps as many extreme tokens, and counts in as many slots; eager torch does any."""
    return state[2].shape[1] <= MOST_EXTREMES and state[7].shape[1] <= MOST_SLOTS


def sweep(
    tile: Float[Tensor, "rows tile_tokens"],
    width: int,
    start: int,
    state: tuple[Tensor, ...],
    columns: Int64[Tensor, "width"] | None = None,
    vectors: tuple[Tensor, ...] | None = None,
) -> None:
    """Add `width` columns of a tile, the tokens from `start`, to the state's tensors, in place.

    The tile's first columns as they are, or as a reading sees them (`fsrl.moments.sweep.torch_read`).
    Without a wait; raises what Triton raises where it cannot compile or launch.
    """
    k, n_bins = state[2].shape[1], state[7].shape[1] - 2
    with torch.cuda.device_of(tile):
        _sweep[(len(tile),)](
            tile,
            tile.stride(),
            columns,
            vectors,
            width,
            start,
            state,
            K=k,
            PLACES=triton.next_power_of_2(max(k, 1)),
            N_BINS=n_bins,
            SLOTS=triton.next_power_of_2(n_bins + 2),
            COLUMNS=COLUMNS,
            num_warps=1,
            # Each operation rounds by itself, as in eager torch: the same slots.
            enable_fp_fusion=False,
        )
