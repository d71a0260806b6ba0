"""The product of a tile in each precision, on whatever units the machine has.

fp64, fp32   operands of that dtype.
bf16         operands rounded to bfloat16 (8 bits), summed in float32.
split        each operand as hi + lo: hi hi + hi lo + lo hi, lo lo left out.

Split on CUDA: hi and lo are TF32 (11 bits each), and one product of thrice the depth is as good as float32.
Split on a CPU: hi and lo are bfloat16 (16 bits together). PyTorch's bfloat16 product returns bfloat16 there;
a second one takes what its rounding lost: first = round(hi hi), rest = round(hi hi + hi lo + lo hi - first),
the difference in float32, inside the product. first + rest has 16 bits, for four products of plain depth.

On x86 CPUs float32 and bfloat16 products go through oneDNN's prepacked product, which torch.compile uses too:
MKL, behind torch.mm, leaves half of an AMD core's float32 units idle.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mode:
    """dtype: of a finished tile; operand: of the product's operands, for split on a CPU.

    rounding: a std below this, relative to that of a row whose terms add up at random, is rounding.
    """

    dtype: torch.dtype
    operand: torch.dtype
    rounding: float


MODES = {
    "fp64": Mode(torch.float64, torch.float64, 8 * torch.finfo(torch.float64).eps),
    "fp32": Mode(torch.float32, torch.float32, 8 * torch.finfo(torch.float32).eps),
    "split": Mode(torch.float32, torch.bfloat16, 2 * 2**-16),
    "bf16": Mode(torch.float32, torch.bfloat16, 2 * 2**-7),
}
PRECISIONS = (*MODES, "auto")
# BLAS adds up the last columns of a product in another order than the rest where they do not fill its stride:
# equal tokens would get unequal logits, and their ties go by place. Zeros take those places instead.
PADDING = 48


def fastest_exact(device: torch.device) -> str:
    """What precision "auto" means on this device: the fastest mode that holds 1e-5 for any weights.

    "split" on CUDA from capability 8, which has TF32 units; "fp32" elsewhere. On a CPU split has only 16
    bits: where one or two tokens make a row's shape its error reaches 1e-4. A rule and not a race, so that
    the choice never varies.
    """
    tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "split" if tf32 else "fp32"


def weight_bytes(precision: str, device: torch.device) -> int:
    """Bytes that a weight of W_U takes once prepared."""
    if precision != "split":
        return MODES[precision].operand.itemsize
    return 3 * 4 if _on_tf32(device) else (1 + 3) * 2


@contextmanager
def own_units(precision: str) -> Iterator[None]:
    """Float32 products in float32 (in TF32 for split's parts), whatever the caller lets torch use."""
    mkldnn: Any = torch.backends.mkldnn
    backends = (mkldnn.matmul, torch.backends.cuda.matmul)
    before = [backend.fp32_precision for backend in backends]
    try:
        mkldnn.matmul.fp32_precision = "ieee"
        torch.backends.cuda.matmul.fp32_precision = "tf32" if precision == "split" else "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def prepare_columns(precision: str, centred: Tensor, features: int) -> tuple[Tensor, ...]:
    """Columns of W_U (float64 [d_model, tokens]) as `multiply` wants them, for `features` rows at a time."""
    if precision != "split":
        return (_pack(centred.to(MODES[precision].operand), features),)
    hi, lo = _halves(centred)
    three = _pack(torch.cat([hi, lo, hi]), features)
    return (three,) if _on_tf32(centred.device) else (_pack(hi, features), three)


def prepare_rows(precision: str, scaled: Tensor) -> tuple[Tensor, ...]:
    """Directions (float64 [features, d_model]) as `multiply` wants them."""
    if precision != "split":
        return (scaled.to(MODES[precision].operand),)
    hi, lo = _halves(scaled)
    three = torch.cat([hi, hi, lo], dim=1)
    return (three,) if _on_tf32(scaled.device) else (hi, three)


def multiply(rows: tuple[Tensor, ...], columns: tuple[Tensor, ...], buffer: Tensor) -> Tensor:
    """One tile [features, tokens + 0 or PADDING] of the product, in the dtype of `buffer`; may lie in it."""
    first = _product(rows[0], columns[0])
    if first.dtype == buffer.dtype:
        return first
    tile = buffer[: first.numel()].view_as(first).copy_(first)
    return tile if len(rows) == 1 else tile.add_(_product(rows[1], columns[1], minus=first))


def _on_tf32(device: torch.device) -> bool:
    return device.type == "cuda"


def _halves(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """hi and lo, of the dtype of split's products, for a float64 matrix."""
    if not _on_tf32(matrix.device):
        hi = matrix.bfloat16()
        return hi, (matrix - hi).bfloat16()
    # TF32 keeps 10 of float32's 23 mantissa bits: with the other 13 cleared hi is read exactly.
    hi = (matrix.float().view(torch.int32) & -(2**13)).view(torch.float32)
    return hi, (matrix - hi).float()


def _pack(columns: Tensor, features: int) -> Tensor:
    """Laid out token by token, the order in which all columns but the last are added up alike (measured)."""
    if not _prepacked(columns):
        return torch.nn.functional.pad(columns.T, (0, 0, 0, PADDING)).contiguous().T
    return torch.ops.mkldnn._reorder_linear_weight(columns.T.contiguous(), features)


def _prepacked(columns: Tensor) -> bool:
    if (
        columns.is_cuda
        or columns.dtype == torch.float64
        or not hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        return False
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    return columns.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _product(rows: Tensor, columns: Tensor, minus: Tensor | None = None) -> Tensor:
    """rows @ columns - minus, the difference taken before the result is rounded."""
    if columns.is_mkldnn:
        oneDNN = torch.ops.mkldnn._linear_pointwise
        if minus is None:
            return oneDNN(rows, columns, None, "none", [], "none")
        return oneDNN.binary(rows, minus, columns, None, "sub")
    if minus is not None:
        return torch.addmm(minus, rows, columns, beta=-1)
    if not columns.is_cuda or columns.dtype != torch.bfloat16:
        return rows @ columns
    return torch.mm(rows, columns, out_dtype=torch.float32)
