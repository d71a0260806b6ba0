"""Products of prepared operands on the arithmetic units of the machine at hand.

On x86 CPUs float32 and bfloat16 products go through oneDNN's prepacked product, which torch.compile uses too:
MKL, behind torch.mm, leaves half of an AMD core's float32 units idle.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# BLAS adds up the last columns of a product in another order than the rest where they do not fill its stride:
# equal tokens would get unequal logits, and their ties go by place. Zeros take those places instead.
PADDING = 48


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


def pack(columns: Float[Tensor, "depth tokens"], features: int) -> Tensor:
    """Columns for `product` with `features` rows at a time, in a layout that is the library's own.

    Laid out token by token, the order in which all columns but the last are added up alike (measured).
    """
    if not _prepacked(columns):
        return torch.nn.functional.pad(columns.T, (0, 0, 0, PADDING)).contiguous().T
    return torch.ops.mkldnn._reorder_linear_weight(columns.T.contiguous(), features)


def product(rows: Float[Tensor, "features depth"], columns: Tensor) -> Float[Tensor, "features tile_tokens"]:
    """rows @ packed columns, tokens + 0 or PADDING wide.

    In the operands' dtype, but for bfloat16 on CUDA: float32.
    """
    if columns.is_mkldnn:
        return torch.ops.mkldnn._linear_pointwise(rows, columns, None, "none", [], "none")
    if not columns.is_cuda or columns.dtype != torch.bfloat16:
        return rows @ columns
    return torch.mm(rows, columns, out_dtype=torch.float32)


def _x86_with_onednn() -> bool:
    return platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()


def _prepacked(columns: Float[Tensor, "depth tokens"]) -> bool:
    if columns.is_cuda or columns.dtype == torch.float64 or not _x86_with_onednn():
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return columns.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
