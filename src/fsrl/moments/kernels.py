"""The pass over a tile, compiled by numba: what `fsrl.moments.sweep` does in torch, at the cache's speed.

The tile lies in the second-level cache meanwhile. Compiled at the first call (seconds, once
per machine: numba keeps the code in __pycache__, or in the user's cache folder where that is read-only).
"""

import numba
import numpy as np
from numpy.typing import NDArray

# Sums of finite numbers may be taken in any order: that lets the compiler use vector units.
ANY_ORDER = {"reassoc", "contract", "nsz", "nnan"}
CHUNK = 128


# The sums call no other compiled function: numba links such calls otherwise when it compiles than when it
# loads its cache, and the last bit of a sum then differs between a machine's first run and its second.
@numba.njit(cache=True, nogil=True, fastmath=ANY_ORDER)
def _power_sums(tile, width, units, sums):  # type: ignore[no-untyped-def]
    zero = tile.dtype.type(0)
    for i in range(len(tile)):
        unit = units[i]
        for begin in range(0, width, CHUNK):
            chunk = tile[i, begin : min(begin + CHUNK, width)]
            squares = cubes = right_fourths = left_fourths = right_eighths = left_eighths = zero
            # By index: a loop over the values themselves is not vectorised, and ten times slower.
            for j in range(len(chunk)):
                value = chunk[j] * unit
                square = value * value
                fourth = square * square
                # Chosen, not subtracted: fourth - right would be rounded once and no longer be 0.
                right = fourth if value > zero else zero
                left = zero if value > zero else fourth
                squares += square
                cubes += square * value
                right_fourths += right
                left_fourths += left
                right_eighths += right * right
                left_eighths += left * left
            sums[i, 0] += squares
            sums[i, 1] += cubes
            sums[i, 2] += right_fourths
            sums[i, 3] += left_fourths
            sums[i, 4] += right_eighths
            sums[i, 5] += left_eighths


@numba.njit(cache=True, nogil=True, fastmath=ANY_ORDER)
def _beyond(row, low, high):  # type: ignore[no-untyped-def]
    """How many values lie outside [low, high], as a float: a sum that vectorises."""
    zero, one = row.dtype.type(0), row.dtype.type(1)
    count = zero
    for j in range(len(row)):
        count += one if (row[j] > high) | (row[j] < low) else zero
    return count


@numba.njit(cache=True, nogil=True)
def _insert(value, token, values, tokens):  # type: ignore[no-untyped-def]
    """Put a value that beats the last one into the descending list, after its equals: they came first."""
    place = len(values) - 1
    while place > 0 and value > values[place - 1]:
        values[place], tokens[place] = values[place - 1], tokens[place - 1]
        place -= 1
    values[place], tokens[place] = value, token


@numba.njit(cache=True, nogil=True)
def _keep_extremes(row, start, top, top_ids, bottom, bottom_ids):  # type: ignore[no-untyped-def]
    """Bottom values are kept negated, so that both lists descend."""
    last = len(top) - 1
    for begin in range(0, len(row), CHUNK):
        chunk = row[begin : begin + CHUNK]
        if _beyond(chunk, -bottom[last], top[last]) == 0:
            continue
        for j in range(len(chunk)):
            if chunk[j] > top[last]:
                _insert(chunk[j], start + begin + j, top, top_ids)
            if -chunk[j] > bottom[last]:
                _insert(-chunk[j], start + begin + j, bottom, bottom_ids)


@numba.njit(cache=True, nogil=True)
def _count(row, bins_per_unit, slots, places):  # type: ignore[no-untyped-def]
    number = row.dtype.type
    last, half = number(len(slots) - 2), number((len(slots) - 2) / 2)
    for j in range(len(row)):
        place = np.floor(row[j] * bins_per_unit + half)
        places[j] = np.int32(min(max(place, number(-1)), last)) + 1
    for j in range(len(row)):
        slots[places[j]] += 1


@numba.njit(cache=True, nogil=True)
def _extremes(tile, width, start, top, top_ids, bottom, bottom_ids):  # type: ignore[no-untyped-def]
    for i in range(len(tile)):
        _keep_extremes(tile[i, :width], start, top[i], top_ids[i], bottom[i], bottom_ids[i])


@numba.njit(cache=True, nogil=True)
def _histogram(tile, width, bins_per_unit, slots):  # type: ignore[no-untyped-def]
    places = np.empty(width, np.int32)
    for i in range(len(tile)):
        _count(tile[i, :width], bins_per_unit[i], slots[i], places)


# No fast arithmetic here: the same roundings as in torch, which has the same bytes.
@numba.njit(cache=True, nogil=True)
def _read_first(tile, factors, before, after, result):  # type: ignore[no-untyped-def]
    for i in range(len(result)):
        for j in range(result.shape[1]):
            result[i, j] = (tile[i, j] - before[i]) * factors[j] - after[i]


@numba.njit(cache=True, nogil=True)
def _read_some(tile, columns, factors, before, after, result):  # type: ignore[no-untyped-def]
    for i in range(len(result)):
        for j in range(result.shape[1]):
            result[i, j] = (tile[i, columns[j]] - before[i]) * factors[j] - after[i]


def read(
    tile: NDArray[np.floating],
    columns: NDArray[np.int64] | None,
    vectors: tuple[NDArray[np.floating], ...],
    result: NDArray[np.floating],
) -> None:
    """Fill `result` with a reading of a tile's columns; vectors: factors, and what is subtracted."""
    factors, before, after = vectors
    if columns is None:
        _read_first(tile, factors, before, after, result)
    else:
        # Unsigned, so that no index counts from the end.
        _read_some(tile, columns.view(np.uint64), factors, before, after, result)


def sweep(tile: NDArray[np.floating], width: int, start: int, state: tuple[NDArray[np.generic], ...]) -> None:
    """Add the first `width` columns of a tile, those from token `start`, to the state's arrays, in place."""
    units, sums, top, top_ids, bottom, bottom_ids, bins_per_unit, slots = state
    _power_sums(tile, width, units, sums)
    if top.shape[1] > 0:
        _extremes(tile, width, start, top, top_ids, bottom, bottom_ids)
    if slots.shape[1] > 2:
        _histogram(tile, width, bins_per_unit, slots)
