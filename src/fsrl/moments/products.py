"""The product of a tile in each precision, on whatever units the machine has.

fp64, fp32   operands of that dtype.
bf16         operands rounded to bfloat16 (8 bits), summed in float32; on a CPU the result is bfloat16 too.
int8         operands as 8-bit integers, summed exactly (`fsrl.moments.int8`).
split        each operand as hi + lo: hi hi + hi lo + lo hi, lo lo left out.

Split on a CPU: hi and lo are 8-bit integers (15 bits together), three products at four times the rate of
float32. Split on CUDA: hi and lo are TF32 (11 bits each), and one product of thrice the depth is as good as
float32.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from fsrl.moments import int8 as moments_int8
from fsrl.moments import units as moments_units
from fsrl.moments.units import pack, product

__all__ = [
    "MODES",
    "PRECISIONS",
    "fastest_exact",
    "mode",
    "multiply",
    "own_units",
    "prepare_columns",
    "prepare_rows",
    "weight_bytes",
]


@dataclass(frozen=True)
class Mode:
    """dtype: of a finished tile; operand: of the product's operands.

    rounding: a std below this is rounding, relative to that of a row whose terms add up at random (`even`
    False), or of a random direction of the row's length (`even` True: the operands' steps are the same for
    every coordinate).
    """

    dtype: torch.dtype
    operand: torch.dtype
    rounding: float
    even: bool = False


MODES = {
    "fp64": Mode(torch.float64, torch.float64, 8 * torch.finfo(torch.float64).eps),
    "fp32": Mode(torch.float32, torch.float32, 8 * torch.finfo(torch.float32).eps),
    "split": Mode(torch.float32, torch.int8, 2**-12, even=True),
    "bf16": Mode(torch.float32, torch.bfloat16, 2 * 2**-7),
    "int8": Mode(torch.float32, torch.int8, 2**-5, even=True),
}
PRECISIONS = (*MODES, "auto")
_TF32_SPLIT = Mode(torch.float32, torch.float32, 2 * 2**-16)
_PARTS = {"int8": 1, "split": 2}


def fastest_exact(device: torch.device) -> str:
    """What precision "auto" means on this device: the fastest mode that holds 1e-5 for any weights.

    "split" on CUDA from capability 8, which has TF32 units; "fp32" elsewhere. On a CPU split has only 15
    bits: where one or two tokens make a row's shape its error reaches 1e-4. A rule and not a race, so that
    the choice never varies.
    """
    tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "split" if tf32 else "fp32"


def mode(precision: str, device: torch.device) -> Mode:
    """What a precision (not "auto") means on this device."""
    return _TF32_SPLIT if _tf32_split(precision, device) else MODES[precision]


def weight_bytes(precision: str, device: torch.device) -> int:
    """Bytes that a weight of W_U takes once prepared."""
    if _tf32_split(precision, device):
        return 3 * 4
    if precision in _PARTS:
        # hi; of two parts lo and hi beside it.
        return (2 * _PARTS[precision] - 1) * moments_units.int8_bytes(device)
    return MODES[precision].operand.itemsize


def own_units(precision: str) -> AbstractContextManager[None]:
    """Float32 products in float32 (in TF32 for split's parts), whatever the caller lets torch use."""
    return moments_units.own_units(tf32=precision == "split")


def prepare_columns(precision: str, centred: Tensor, features: int) -> tuple[Tensor, ...]:
    """Columns of W_U (float64 [d_model, tokens]) as `multiply` wants them, for `features` rows at a time."""
    if _tf32_split(precision, centred.device):
        hi, lo = _tf32_halves(centred)
        return (pack(torch.cat([hi, lo, hi]), features),)
    if precision in _PARTS:
        return moments_int8.prepare_columns(_PARTS[precision], centred, features)
    return (pack(centred.to(MODES[precision].operand), features),)


def prepare_rows(precision: str, scaled: Tensor) -> tuple[Tensor, ...]:
    """Directions (float64 [features, d_model]) as `multiply` wants them."""
    if _tf32_split(precision, scaled.device):
        hi, lo = _tf32_halves(scaled)
        return (torch.cat([hi, hi, lo], dim=1),)
    if precision in _PARTS:
        return moments_int8.prepare_rows(_PARTS[precision], scaled)
    return (scaled.to(MODES[precision].operand),)


def multiply(rows: tuple[Tensor, ...], columns: tuple[Tensor, ...], buffer: Tensor) -> Tensor:
    """One tile [features, tokens + 0 or PADDING] of the product, in the dtype of `buffer`; may lie in it."""
    if len(rows) > 1:
        return moments_int8.multiply(rows, columns)
    tile = product(rows[0], columns[0])
    return tile if tile.dtype == buffer.dtype else buffer[: tile.numel()].view_as(tile).copy_(tile)


def _tf32_split(precision: str, device: torch.device) -> bool:
    return precision == "split" and device.type == "cuda"


def _tf32_halves(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """hi and lo of a float64 matrix, float32.

    TF32 keeps 10 of float32's 23 mantissa bits: with the other 13 cleared hi is read exactly.
    """
    hi = (matrix.float().view(torch.int32) & -(2**13)).view(torch.float32)
    return hi, (matrix - hi).float()
