"""The shape of a layer's decoder: C, against which `fsrl.enrichment` says how unusual a direction is.

C is the second moment of the decoder rows, each scaled to the same length sqrt(d^T C^-1 d) (Tyler 1987), so
that neither a row's norm nor a few long rows matter. Of rows drawn from N(0, C), scaled by whatever numbers,
t against the C of these very rows was Student's t as far as simulations could tell.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fsrl import devices
from fsrl.constants import SHRINKAGE, TYLER_STEPS
from fsrl.errors import FsrlError
from fsrl.weights.matrices import check_finite

ROWS_PER_BLOCK = 1024
# Eigenvalues of C below this share of the largest are rounding: decoder rows are float32.
RANK_TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class LayerCovariance:
    """Shrunk second moment C of a layer's decoder rows, as its roots on the k directions that the rows span.

    whiten, colour: U C^-1/2 and U C^1/2 in the eigenvectors U; shrinkage: 0 to 1.
    """

    whiten: Float64[Tensor, "d_model k"]
    colour: Float64[Tensor, "d_model k"]
    shrinkage: float

    @property
    def k(self) -> int:
        """Dimensions that the rows span."""
        return self.whiten.shape[1]


def layer_covariance(
    W_dec: Tensor, *, shrinkage: float = SHRINKAGE, steps: int = TYLER_STEPS
) -> LayerCovariance:
    """C of the rows of W_dec [features, d_model], every row scaled to the same length sqrt(d^T C^-1 d).

    That is Tyler's (1987) fixed point, after `steps` steps from rows of length 1 (0 steps: their plain second
    moment). Then C = (1 - shrinkage) C + shrinkage * its mean eigenvalue, within the span of the rows:
    decoders of a centred residual stream have rank d_model - 1. Rows of zeros are left out. C lies where
    W_dec lies. Raises FsrlError for weights that are not finite, rank below 2, shrinkage outside [0, 1] and
    steps < 0.
    """
    check_matrix("W_dec", W_dec)
    W_dec = W_dec.detach().to(devices.for_float64(W_dec))
    if not 0 <= shrinkage <= 1 or steps < 0:
        raise FsrlError(
            f"enrichment: shrinkage is {shrinkage} and steps is {steps}; shrinkage from 0 to 1, steps from 0"
        )
    second = _second_moment(W_dec)
    values, vectors = torch.linalg.eigh(second)
    span = vectors[:, values > RANK_TOLERANCE * values[-1]]
    if span.shape[1] < 2:
        raise FsrlError(
            f"enrichment: decoder rows have rank {span.shape[1]}; t needs at least 2, check the decoder"
        )
    covariance = _roots(span.T @ second @ span, span, shrinkage)
    for _ in range(steps):
        covariance = _roots(span.T @ _second_moment(W_dec, covariance.whiten) @ span, span, shrinkage)
    return covariance


def _second_moment(
    W_dec: Float[Tensor, "features d_model"], whiten: Float64[Tensor, "d_model k"] | None = None
) -> Float64[Tensor, "d_model d_model"]:
    """Of trace 1; rows scaled to length 1, or to length 1 once whitened."""
    second = torch.zeros(W_dec.shape[1], W_dec.shape[1], dtype=torch.float64, device=W_dec.device)
    for block in W_dec.split(ROWS_PER_BLOCK):
        rows = _unit_rows(block)
        if whiten is not None:
            rows = rows / (rows @ whiten).norm(dim=1, keepdim=True)
        second += rows.T @ rows
    return second / second.trace().clamp(min=torch.finfo(torch.float64).tiny)


def _roots(
    second: Float64[Tensor, "k k"], span: Float64[Tensor, "d_model k"], shrinkage: float
) -> LayerCovariance:
    """C from the second moment in the coordinates of `span`."""
    values, vectors = torch.linalg.eigh(second)
    root = ((1 - shrinkage) * values + shrinkage * values.mean()).sqrt()
    return LayerCovariance(span @ (vectors / root), span @ (vectors * root), shrinkage)


def check_matrix(name: str, matrix: Tensor) -> None:
    """Raise FsrlError unless this is a floating matrix, not empty, with finite entries."""
    if matrix.dim() != 2 or matrix.numel() == 0 or not matrix.is_floating_point():
        shape = list(matrix.shape)
        raise FsrlError(
            f"enrichment: {name} is {matrix.dtype} {shape}; it must be a floating matrix, not empty"
        )
    check_finite(name, matrix)


def _unit_rows(rows: Float[Tensor, "features d_model"]) -> Float64[Tensor, "nonzero d_model"]:
    """The rows with length 1; rows of zeros are left out."""
    # By the largest entry first, so that no square under- or overflows.
    wide = rows.double()
    wide = wide[wide.ne(0).any(dim=1)]
    wide = wide / wide.abs().amax(dim=1, keepdim=True)
    return wide / wide.norm(dim=1, keepdim=True)
