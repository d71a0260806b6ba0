"""What the moments pass reads in each tile and keeps of it: power sums, extreme tokens, histogram counts.

One definition in plain torch, for any device, and its compiled twins: for CPUs (`fsrl.moments.kernels`) and
for GPUs (`fsrl.moments.triton_sweep`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, partial

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from fsrl.moments.plan import Shape

logger = logging.getLogger(__name__)

# Columns of the sums. Right: of the values above 0, the others counting as 0; left: of the others.
POWERS = ("squares", "cubes", "right_fourths", "left_fourths", "right_eighths", "left_eighths")


@dataclass(frozen=True, eq=False)
class State:
    """What is known of each feature so far, in scaled units about its mean; one row per feature.

    units: what values are multiplied by before powers of them are taken (`fsrl.moments.features` says why);
    sums: of their `POWERS`; top, bottom: the largest values, and the largest negated ones,
    descending (-inf where none yet), with their columns in top_ids, bottom_ids; bins_per_unit: bins of the
    histogram in a scaled unit; slots: tokens below, in each bin and above (n_bins + 2). Values are in the
    products' dtype.
    """

    units: Float[Tensor, "rows"]
    sums: Float64[Tensor, "rows powers"]
    top: Float[Tensor, "rows k"]
    top_ids: Int64[Tensor, "rows k"]
    bottom: Float[Tensor, "rows k"]
    bottom_ids: Int64[Tensor, "rows k"]
    bins_per_unit: Float[Tensor, "rows"]
    slots: Int64[Tensor, "rows slots"]

    @classmethod
    def empty(cls, shape: Shape, dtype: torch.dtype, device: torch.device) -> "State":
        """The state before the first token; dtype is that of the products."""
        n, k = shape.n, min(shape.n_extremes, shape.d_vocab)

        def integers(width: int) -> Int64[Tensor, "rows width"]:
            return torch.zeros(n, width, dtype=torch.int64, device=device)

        return cls(
            units=torch.ones(n, dtype=dtype, device=device),
            sums=torch.zeros(n, len(POWERS), dtype=torch.float64, device=device),
            top=torch.full((n, k), -torch.inf, dtype=dtype, device=device),
            top_ids=integers(k),
            bottom=torch.full((n, k), -torch.inf, dtype=dtype, device=device),
            bottom_ids=integers(k),
            bins_per_unit=torch.zeros(n, dtype=dtype, device=device),
            slots=integers(shape.n_bins + 2),
        )

    def block(self, rows: slice) -> "State":
        """A view of some features' rows."""
        return State(*(getattr(self, field.name)[rows] for field in fields(self)))


Sweep = Callable[[Tensor, int, int, State], None]
# What a reading does to a tile: its factors, and what it subtracts before and after.
Vectors = tuple[Float[Tensor, "width"], Float[Tensor, "rows"], Float[Tensor, "rows"]]
Read = Callable[[Tensor, Tensor | None, Vectors, Tensor], None]
# Tile, columns and vectors as `Read` has them; first token and state as `Sweep` has them; room for a tile.
ReadAndSweep = Callable[[Tensor, Tensor | None, Vectors, int, State, Tensor], None]


def sweep_for(device: torch.device) -> Sweep:
    """The fastest sweep for this device; says so in the log where that is not the compiled one."""
    if device.type == "cuda":
        return fused_sweep if _fuses(device) else torch_sweep
    return _compiled()


def read_for(device: torch.device) -> Read:
    """The fastest way to read a tile (see `torch_read`) for this device, where the sweep does not do it."""
    return torch_read if device.type == "cuda" or _compiled() is torch_sweep else _compiled_read


def read_and_sweep_for(device: torch.device) -> ReadAndSweep:
    """The fastest way for this device to add to the state what a reading sees of a tile."""
    if device.type == "cuda" and _fuses(device):
        return fused_read_and_sweep
    return partial(_in_turn, read_for(device), sweep_for(device))


def _in_turn(
    read: Read,
    sweep: Sweep,
    tile: Float[Tensor, "rows tile_tokens"],
    columns: Int64[Tensor, "width"] | None,
    vectors: Vectors,
    start: int,
    state: State,
    room: Float[Tensor, "size"],
) -> None:
    """A `ReadAndSweep` in two steps: what the reading sees is written into the room, and that is swept."""
    factors, before, _ = vectors
    seen = room[: len(before) * len(factors)].view(len(before), len(factors))
    read(tile, columns, vectors, seen)
    sweep(seen, len(factors), start, state)


def fused_sweep(tile: Float[Tensor, "rows tile_tokens"], width: int, start: int, state: State) -> None:
    """`torch_sweep` by one kernel that reads a tile once and leaves it as it is; needs Triton and a GPU."""
    from fsrl.moments import triton_sweep

    if triton_sweep.fits(tensors := _tensors(state)):
        triton_sweep.sweep(tile, width, start, tensors)
    else:
        torch_sweep(tile, width, start, state)


def fused_read_and_sweep(
    tile: Float[Tensor, "rows tile_tokens"],
    columns: Int64[Tensor, "width"] | None,
    vectors: Vectors,
    start: int,
    state: State,
    room: Float[Tensor, "size"],
) -> None:
    """`torch_read` and `torch_sweep` by the same kernel: nothing is written but the state."""
    from fsrl.moments import triton_sweep

    if triton_sweep.fits(tensors := _tensors(state)):
        triton_sweep.sweep(tile, len(vectors[0]), start, tensors, columns, vectors)
    else:
        torch_read_and_sweep(tile, columns, vectors, start, state, room)


def _tensors(state: State) -> tuple[Tensor, ...]:
    return tuple(getattr(state, field.name) for field in fields(State))


@cache
def _fuses(device: torch.device) -> bool:
    """Whether this GPU runs the fused sweep, tried once beside eager torch; the log says why not."""
    try:
        try_fused(device)
    # Whatever Triton, the C compiler that it calls and the driver may raise.
    except Exception as error:
        logger.warning(
            "moments: no fused sweep on %s: in eager torch extremes and histograms take, by count, about ten"
            " times the product's time instead of half of it (%s: %s)",
            device,
            type(error).__name__,
            error,
        )
        return False
    return True


def try_fused(device: torch.device) -> None:
    """Raise what stands against the fused sweep here; RuntimeError for numbers that are not eager torch's."""
    rows, width = 3, 1100
    # Small integers: many ties.
    tile = torch.arange(rows * width, device=device).mul(7919).remainder(61).sub(30).float().view(rows, width)
    columns = torch.arange(1, width, device=device)
    vectors = (columns.remainder(3) + 1).float(), tile[:, 0] / 4, tile[:, 1] / 8
    shape = Shape(rows, 1, width, n_extremes=10, n_bins=50, weight_bytes=4, item_bytes=tile.itemsize)
    states = []
    for add in (fused_read_and_sweep, torch_read_and_sweep):
        state = State.empty(shape, tile.dtype, device)
        state.units.fill_(2.0**-4)
        state.bins_per_unit.fill_(0.37)
        add(tile, columns, vectors, 0, state, torch.empty_like(tile).view(-1))
        states.append(state)
    for ours, theirs in zip(*map(_tensors, states), strict=True):
        # The sums, alone in float64, may be added up in another order.
        rtol = 1e-4 if ours.dtype == torch.float64 else 0.0
        if not torch.allclose(ours, theirs, rtol=rtol, atol=0.0):
            raise RuntimeError("its numbers differ from those of eager torch")


def _compiled_read(
    tile: Float[Tensor, "rows tile_tokens"],
    columns: Int64[Tensor, "width"] | None,
    vectors: Vectors,
    result: Float[Tensor, "rows width"],
) -> None:
    from fsrl.moments import kernels as moments_kernels

    places = None if columns is None else columns.numpy()
    moments_kernels.read(tile.numpy(), places, tuple(vector.numpy() for vector in vectors), result.numpy())


@cache
def _compiled() -> Sweep:
    try:
        from fsrl.moments import kernels as moments_kernels
    except ImportError as error:
        logger.warning(
            "moments: without numba extremes and histograms take plain torch, about twice the time (%s)",
            error,
        )
        return torch_sweep

    def sweep(tile: Float[Tensor, "rows tile_tokens"], width: int, start: int, state: State) -> None:
        arrays = tuple(tensor.numpy() for tensor in _tensors(state))
        moments_kernels.sweep(tile.numpy(), width, start, arrays)

    return sweep


def torch_read(
    tile: Float[Tensor, "rows tile_tokens"],
    columns: Int64[Tensor, "width"] | None,
    vectors: Vectors,
    result: Float[Tensor, "rows width"],
) -> None:
    """Fill `result` with (p - before) * factors - after for the p of a tile's columns.

    columns: of the tile, or None for its first ones; vectors: factors, before and after, in the tile's dtype
    (`fsrl.moments.readings` says what they are).
    """
    factors, before, after = vectors
    picked = tile[:, : result.shape[1]] if columns is None else tile[:, columns]
    torch.sub(picked, before.unsqueeze(1), out=result).mul_(factors).sub_(after.unsqueeze(1))


def torch_sweep(tile: Float[Tensor, "rows tile_tokens"], width: int, start: int, state: State) -> None:
    """Add the first `width` columns of a tile, those from token `start`, to the state; overwrites them."""
    tile = tile[:, :width]
    k, n_bins = state.top.shape[1], state.slots.shape[1] - 2
    if k:
        _keep_largest(tile, start, state.top, state.top_ids)
        _keep_largest(-tile, start, state.bottom, state.bottom_ids)
    if n_bins:
        state.slots.add_(_bin(tile, state.bins_per_unit.unsqueeze(1), n_bins))
    state.sums.add_(torch.stack(_power_sums(tile.mul_(state.units.unsqueeze(1))), dim=1))


torch_read_and_sweep: ReadAndSweep = partial(_in_turn, torch_read, torch_sweep)


def _power_sums(tile: Float[Tensor, "rows width"]) -> list[Float[Tensor, "rows"]]:
    """The sums of each row's `POWERS`; overwrites the tile."""
    powers = tile * tile
    sums = [powers.sum(1), powers.mul_(tile).sum(1)]
    right = torch.clamp(tile, min=0, out=powers)
    fourths = [side.square_().square_() for side in (right, tile.clamp_(max=0))]
    sums += [side.sum(1) for side in fourths]
    return sums + [side.square_().sum(1) for side in fourths]


def _keep_largest(
    tile: Float[Tensor, "rows width"],
    start: int,
    best: Float[Tensor, "rows k"],
    best_ids: Int64[Tensor, "rows k"],
) -> None:
    k = best.shape[1]
    values, columns = _top(tile, k)
    # Tiles come in the order of the vocabulary, so a stable sort keeps the lower column first.
    values, order = torch.cat([best, values], dim=1).sort(dim=1, descending=True, stable=True)
    best_ids.copy_(torch.cat([best_ids, columns + start], dim=1).gather(1, order[:, :k]))
    best.copy_(values[:, :k])


def _top(
    tile: Float[Tensor, "rows width"], k: int
) -> tuple[Float[Tensor, "rows found"], Int64[Tensor, "rows found"]]:
    """The k largest entries of each row, largest first, ties to the lower column: values and columns."""
    width = tile.shape[1]
    if width <= k:
        return tile.sort(dim=1, descending=True, stable=True)
    # topk picks any of equal entries, so it only says how large the last one in is: what is larger is in, and
    # of what equals it the lower columns are. A second topk picks these; the CPU waits for neither.
    last = tile.topk(k, dim=1).values[:, -1:]
    falling = torch.arange(width, 0, -1, dtype=torch.int32, device=tile.device)
    rank = falling.expand_as(tile).masked_fill(tile < last, 0).masked_fill_(tile > last, width + 1)
    columns = rank.topk(k, dim=1).indices.sort(dim=1).values
    values, order = tile.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _bin(
    tile: Float[Tensor, "rows width"], bins_per_unit: Float[Tensor, "rows 1"], n_bins: int
) -> Int64[Tensor, "rows slots"]:
    """Tokens below, in each bin and above; the row's mean is at n_bins / 2."""
    slots = (tile * bins_per_unit + n_bins / 2).floor_().clamp_(-1, n_bins).long().add_(1)
    found = torch.zeros(len(tile), n_bins + 2, dtype=torch.int64, device=tile.device)
    # Not bincount, for which the CPU waits to learn the largest slot.
    return found.scatter_add_(1, slots, found.new_ones(1, 1).expand_as(slots))
