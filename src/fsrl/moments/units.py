"""Products of prepared operands on the arithmetic units of the machine at hand: float, and 8-bit integer.

On x86 CPUs float32 and bfloat16 products go through oneDNN's prepacked product, which torch.compile uses too:
MKL, behind torch.mm, leaves half of an AMD core's float32 units idle. Products of 8-bit integers go through
oneDNN's quantised linear layer: sums in int32, so exact, and four times the rate of float32.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# BLAS adds up the last columns of a product in another order than the rest where they do not fill its stride:
# equal tokens would get unequal logits, and their ties go by place. Zeros take those places instead.
PADDING = 48
# oneDNN multiplies unsigned by signed: rows are shifted by this much, and the product is corrected for it.
SHIFT = 128


@contextmanager
def own_units(*, tf32: bool) -> Iterator[None]:
    """Float32 products in float32 (on CUDA in TF32, where asked), whatever the caller lets torch use."""
    mkldnn: Any = torch.backends.mkldnn
    backends = (mkldnn.matmul, torch.backends.cuda.matmul)
    before = [backend.fp32_precision for backend in backends]
    try:
        mkldnn.matmul.fp32_precision = "ieee"
        torch.backends.cuda.matmul.fp32_precision = "tf32" if tf32 else "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def pack(columns: Tensor, features: int) -> Tensor:
    """Columns [depth, tokens] for `product` with `features` rows at a time.

    Laid out token by token, the order in which all columns but the last are added up alike (measured).
    """
    if not _prepacked(columns):
        return torch.nn.functional.pad(columns.T, (0, 0, 0, PADDING)).contiguous().T
    return torch.ops.mkldnn._reorder_linear_weight(columns.T.contiguous(), features)


def product(rows: Tensor, columns: Tensor) -> Tensor:
    """rows [features, depth] @ packed columns: [features, tokens + 0 or PADDING].

    In the operands' dtype, but for bfloat16 on CUDA: float32.
    """
    if columns.is_mkldnn:
        return torch.ops.mkldnn._linear_pointwise(rows, columns, None, "none", [], "none")
    if not columns.is_cuda or columns.dtype != torch.bfloat16:
        return rows @ columns
    return torch.mm(rows, columns, out_dtype=torch.float32)


def has_int8(device: torch.device) -> bool:
    """Whether products of 8-bit integers are exact and fast: on x86 CPUs with VNNI units.

    Without them oneDNN's u8 x s8 products saturate.
    """
    if device.type != "cpu" or not _x86_with_onednn() or not hasattr(torch.ops.onednn, "qlinear_pointwise"):
        return False
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_vnni") or found.get("avx_vnni"))


def int8_bytes(device: torch.device) -> int:
    """Bytes that one packed whole number takes."""
    return 1 if has_int8(device) else _exact_float(device).itemsize


def int8_rows(rows: Tensor) -> Tensor:
    """Whole numbers from -127 to 127 (float32 [features, depth]) as `int8_product` wants them."""
    if not has_int8(rows.device):
        return rows.to(_exact_float(rows.device))
    return (rows + SHIFT).to(torch.uint8)


def int8_pack(columns: Tensor, features: int) -> Tensor:
    """Whole numbers from -127 to 127 (float32, turned: [tokens, depth]), for `features` rows at a time."""
    if not has_int8(columns.device):
        return pack(columns.to(_exact_float(columns.device)).T, features)
    return torch.ops.onednn.qlinear_prepack(columns.to(torch.int8), [features, columns.shape[1]])


def int8_product(rows: Tensor, columns: Tensor, scale: Tensor, plus: Tensor | None = None) -> Tensor:
    """(rows @ columns) * scale + plus, in float32: [features, tokens + 0 or PADDING].

    scale: float32 [tokens]; plus: an earlier result, which is overwritten. Without int8 units the same whole
    numbers are multiplied as floats: right, and slower.
    """
    if rows.dtype != torch.uint8:
        found = product(rows, columns).float()
        found[:, : len(scale)] *= scale
        return found if plus is None else plus.add_(found)
    zeros = torch.zeros(len(scale), dtype=torch.int64)
    linear, out = torch.ops.onednn.qlinear_pointwise, torch.float32
    if plus is None:
        return linear(rows, 1.0, SHIFT, columns, scale, zeros, None, 1.0, 0, out, "none", [], "")
    return linear.binary(
        rows, 1.0, SHIFT, columns, scale, zeros, plus, None, 1.0, 0, out, 1.0, 0, "sum", 1.0, "none", [], ""
    )


def _exact_float(device: torch.device) -> torch.dtype:
    """A float that holds whole numbers to 127 exactly, and whose products are summed in float32."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _x86_with_onednn() -> bool:
    return platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()


def _prepacked(columns: Tensor) -> bool:
    if columns.is_cuda or columns.dtype == torch.float64 or not _x86_with_onednn():
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return columns.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
