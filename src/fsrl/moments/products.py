"""The product of a tile in each precision, on whatever units the machine has.

fp64, fp32   operands of that dtype.
bf16         operands rounded to bfloat16 (8 bits), summed in float32; on a CPU the result is bfloat16 too.
split        on CUDA: each operand as hi + lo in TF32 (11 bits each), hi hi + hi lo + lo hi as one product of
             thrice the depth, lo lo left out: as good as float32. A CPU has no such units: there it is fp32.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from fsrl.moments import units as moments_units
from fsrl.moments.units import pack, product


@dataclass(frozen=True)
class Mode:
    """dtype: of a finished tile; operand: of the product's operands; parts: operands a weight of W_U becomes.

    rounding: of a product of few terms, a std below this is rounding (`rounding` says of what).
    """

    dtype: torch.dtype
    operand: torch.dtype
    rounding: float
    parts: int = 1


MODES = {
    "fp64": Mode(torch.float64, torch.float64, 8 * torch.finfo(torch.float64).eps),
    "fp32": Mode(torch.float32, torch.float32, 8 * torch.finfo(torch.float32).eps),
    "split": Mode(torch.float32, torch.float32, 2 * 2**-16, parts=3),
    "bf16": Mode(torch.float32, torch.bfloat16, 2 * 2**-7),
}
PRECISIONS = (*MODES, "auto")


def fastest_exact(device: torch.device) -> str:
    """What precision "auto" means on this device: the fastest mode that holds 1e-5 for any weights.

    "split" on CUDA from capability 8, which has TF32 units; "fp32" elsewhere. A rule and not a race, so that
    the choice never varies.
    """
    tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "split" if tf32 else "fp32"


def meant(precision: str, device: str | torch.device) -> str:
    """The mode (of `MODES`) that a precision (of `PRECISIONS`) means on this device."""
    device = torch.device(device)
    if precision == "auto":
        return fastest_exact(device)
    return "fp32" if precision == "split" and device.type != "cuda" else precision


def rounding(mode: str, d_model: int) -> float:
    """A std below this is rounding, relative to that of a row whose d_model terms add up at random.

    Each term is rounded at the size of the sum so far, and these errors add up at random. Equal columns do
    not always get equal sums: some processors add up the last ones of a tile in another order than the rest.
    """
    chosen = MODES[mode]
    return max(chosen.rounding, d_model**0.5 * torch.finfo(chosen.dtype).eps)


def weight_bytes(mode: str) -> int:
    """Bytes that a weight of W_U takes once prepared."""
    return MODES[mode].parts * MODES[mode].operand.itemsize


def own_units(mode: str) -> AbstractContextManager[None]:
    """Float32 products in float32 (in TF32 for split's parts), whatever the caller lets torch use."""
    return moments_units.own_units(tf32=mode == "split")


def prepare_columns(mode: str, centred: Float64[Tensor, "d_model tokens"], features: int) -> Tensor:
    """Columns of W_U as `multiply` wants them, for `features` rows at a time, by `units.pack`."""
    if mode == "split":
        hi, lo = _tf32_halves(centred)
        return pack(torch.cat([hi, lo, hi]), features)
    return pack(centred.to(MODES[mode].operand), features)


def prepare_rows(mode: str, scaled: Float64[Tensor, "features d_model"]) -> Float[Tensor, "features depth"]:
    """Directions as `multiply` wants them; depth is `Mode.parts` times d_model."""
    if mode == "split":
        hi, lo = _tf32_halves(scaled)
        return torch.cat([hi, hi, lo], dim=1)
    return scaled.to(MODES[mode].operand)


def multiply(
    rows: Float[Tensor, "features depth"], columns: Tensor, buffer: Float[Tensor, "size"]
) -> Float[Tensor, "features tile_tokens"]:
    """One tile of the product (tokens + 0 or PADDING wide), in the dtype of `buffer`; may lie in it."""
    tile = product(rows, columns)
    return tile if tile.dtype == buffer.dtype else buffer[: tile.numel()].view_as(tile).copy_(tile)


def _tf32_halves(
    matrix: Float64[Tensor, "rows columns"],
) -> tuple[Float32[Tensor, "rows columns"], Float32[Tensor, "rows columns"]]:
    """hi and lo of a matrix.

    TF32 keeps 10 of float32's 23 mantissa bits: with the other 13 cleared hi is read exactly.
    """
    hi = (matrix.float().view(torch.int32) & -(2**13)).view(torch.float32)
    return hi, (matrix - hi).float()
