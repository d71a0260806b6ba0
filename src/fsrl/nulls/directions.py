"""Null directions, in seeded blocks: what a decoder row could be if it meant nothing.

    isotropic       uniform on the unit sphere of the residual stream
    second_moment   Gaussian, with the second moment of the decoder's rows, mean(d d^T) (not centred)
    spectrum        Gaussian, with independent coordinates along W_U's principal axes, each with the mean
                    square that the decoder's rows of length 1 have there
    sign_flip       a decoder row with random signs of its coordinates in W_U's PCA basis

The PCA basis is that of W_U centred over the vocabulary: the eigenvectors v_i of C = Wc Wc^T / d_vocab. The
variance of a direction's logit weights is d^T C d = sum_i lambda_i (v_i . d)^2, in which a sign drops out: a
flipped row keeps its norm and its std exactly and loses everything else. Row i of the decoder gives the draws
i, i + n, i + 2n, ... (n rows), so every row counts alike.

But a row along one principal axis is its own flip, up to the sign. What a few rows have along an axis
(spacing, say) then lies in the null in full, and no such row is more than chance. `spectrum` keeps what the
rows have in common instead: how strongly they write along each axis on average. A few rows along one axis
are a small part of that mean, and are found; an axis that all rows share stays in the null.

Norms: isotropic directions have length 1. The Gaussian kinds are scaled, each draw to the norm of a decoder
row drawn with replacement, independent of the direction; a flipped row has its own. std scales with the norm
and is compared as std / norm; skewness and kurtosis do not depend on it. Decoder rows of length 0 are left
out: they have no direction.

Random numbers come from NumPy, the same for every device; what is made of them lies where the given matrices
lie, and is computed there.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from fsrl import devices
from fsrl.errors import FsrlError
from fsrl.weights import columns
from fsrl.weights.matrices import check_finite

# Each block of draws has a generator of its own: draw i is the same however many draws are asked for.
# Changing this number changes every draw.
DRAWS_PER_BLOCK = 4096
# An eigenvalue of a covariance may be this far below 0, as a share of the largest, by rounding alone.
NEGATIVE_BY_ROUNDING = 1e-6
# The last word of each kind's seed; isotropic draws came first and have none.
_SECOND_MOMENT, _SIGN_FLIP, _SPECTRUM, _BAND_ROTATION = 1, 2, 3, 4
# A block of draws: at most DRAWS_PER_BLOCK rows.
Directions = Float32[Tensor, "rows d_model"]


def isotropic(d_model: int, *, draws: int, seed: int) -> Iterator[Directions]:
    """Blocks of directions of length 1, `draws` rows in all. Raises FsrlError for draws < 1 or seed < 0."""

    def block(number: int, rows: int) -> Directions:
        """Normal numbers, scaled."""
        normal = np.random.default_rng([seed, number]).standard_normal((rows, d_model), dtype=np.float32)
        directions = torch.from_numpy(normal)
        return directions.div_(directions.norm(dim=1, keepdim=True))

    return _blocks(block, draws, seed)


def second_moment(W_dec: Tensor, *, draws: int, seed: int) -> Iterator[Directions]:
    """Blocks of Gaussian directions with the second moment of the rows of W_dec [d_sae, d_model].

    W_dec: of any floating dtype. Raises FsrlError where it is no floating matrix, has NaN or
    infinities, or no row but zeros; and for draws < 1 or seed < 0.
    """
    rows = _rows(W_dec)
    return _gaussian(rows.T @ rows / len(rows), rows.norm(dim=1), draws, seed, _SECOND_MOMENT)


def spectrum(W_dec: Tensor, W_U: Tensor, *, draws: int, seed: int) -> Iterator[Directions]:
    """Blocks of Gaussian directions with the mean spectrum of W_dec's rows along W_U's principal axes.

    W_U [d_model, n_tokens]: the view's. Rows count alike, whatever their lengths. Raises FsrlError for a W_U
    of another d_model or not finite, and for what `second_moment` refuses.
    """
    rows = _rows(W_dec)
    return _gaussian(mean_spectrum(rows, W_U), rows.norm(dim=1), draws, seed, _SPECTRUM)


def mean_spectrum(rows: Float64[Tensor, "rows d_model"], W_U: Tensor) -> Float64[Tensor, "d_model d_model"]:
    """The second moment of `spectrum`, of trace 1: V diag(mean((v_i . d / |d|)^2)) V^T, V of W_U's axes v_i.

    Axes of one variance may be chosen freely, which shows; their signs do not. Raises FsrlError for a W_U of
    another d_model or not finite.
    """
    basis = _principal_axes(rows, W_U)
    squares = (rows / rows.norm(dim=1, keepdim=True) @ basis).square().mean(dim=0)
    return (basis * squares) @ basis.T


def sign_flip(W_dec: Tensor, W_U: Tensor, *, draws: int, seed: int) -> Iterator[Directions]:
    """Blocks of W_dec's rows with random signs in the PCA basis of the view's W_U [d_model, n_tokens].

    Raises FsrlError for a W_U of another d_model or not finite, and for what `second_moment` refuses.
    """
    rows = _rows(W_dec)
    basis = _principal_axes(rows, W_U)
    coordinates = rows @ basis

    def block(number: int, size: int) -> Directions:
        """The next rows, from the first on again after the last."""
        generator = np.random.default_rng([seed, number, _SIGN_FLIP])
        bits = generator.integers(0, 2, (DRAWS_PER_BLOCK, rows.shape[1]), dtype=np.int8)[:size]
        index = (number * DRAWS_PER_BLOCK + torch.arange(size, device=rows.device)) % len(rows)
        return ((coordinates[index] * torch.from_numpy(bits * 2 - 1).to(rows.device)) @ basis.T).float()

    return _blocks(block, draws, seed)


def band_rotation(W_dec: Tensor, W_U: Tensor, *, width: int, draws: int, seed: int) -> Iterator[Directions]:
    """Blocks of W_dec's rows, turned at random within bands of `width` neighbouring axes of W_U.

    Bands begin with the axis of the largest variance, and the last may be narrower; in each a draw has the
    norm that its row has there, and a uniform direction. No kind of the table `null`: what `spectrum` was
    chosen over (`fsrl.claims.null_comparison`). Raises FsrlError for width < 1 and for what `sign_flip`
    refuses.
    """
    if width < 1:
        raise FsrlError(f"nulls: width is {width}; a band has 1 axis or more")
    rows = _rows(W_dec)
    basis = _principal_axes(rows, W_U).flip(1)
    bands = [coordinates.norm(dim=1, keepdim=True) for coordinates in (rows @ basis).split(width, dim=1)]

    def block(number: int, size: int) -> Directions:
        """The next rows, each with as much in every band, in a random direction there."""
        generator = np.random.default_rng([seed, number, _BAND_ROTATION])
        normal = generator.standard_normal((DRAWS_PER_BLOCK, rows.shape[1]), dtype=np.float32)[:size]
        turned = torch.from_numpy(normal).to(rows).split(width, dim=1)
        index = (number * DRAWS_PER_BLOCK + torch.arange(size, device=rows.device)) % len(rows)
        parts = [
            part * (norms[index] / part.norm(dim=1, keepdim=True))
            for part, norms in zip(turned, bands, strict=True)
        ]
        return (torch.cat(parts, dim=1) @ basis.T).float()

    return _blocks(block, draws, seed)


def _principal_axes(rows: Float64[Tensor, "rows d_model"], W_U: Tensor) -> Float64[Tensor, "d_model axes"]:
    """W_U's PCA basis, an axis a column, in the order of the variance along them, least first."""
    check_finite("W_U", W_U)
    if W_U.shape[0] != rows.shape[1]:
        raise FsrlError(f"nulls: W_dec has d_model {rows.shape[1]} but W_U has {W_U.shape[0]}")
    return torch.linalg.eigh(columns.centred_gram(W_U.detach().to(rows.device))).eigenvectors


def _gaussian(
    moment: Float64[Tensor, "d_model d_model"],
    norms: Float64[Tensor, "rows"],
    draws: int,
    seed: int,
    kind: int,
) -> Iterator[Directions]:
    # The symmetric root does not depend on the signs of the eigenvectors, which a library may choose freely.
    values, vectors = torch.linalg.eigh(moment)
    peak = values.abs().max()
    if not peak > 0 or values.min() < -NEGATIVE_BY_ROUNDING * peak:
        raise FsrlError(
            f"nulls: second moment with eigenvalues from {values.min():g} to {values.max():g}; "
            "none may be negative and one must be positive"
        )
    root = ((vectors * values.clamp(min=0).sqrt()) @ vectors.T).float()

    def block(number: int, size: int) -> Directions:
        """A whole block is drawn and cut, so that its norms do not depend on how many draws are asked for."""
        generator = np.random.default_rng([seed, number, kind])
        normal = generator.standard_normal((DRAWS_PER_BLOCK, len(moment)), dtype=np.float32)[:size]
        picks = torch.from_numpy(generator.integers(0, len(norms), DRAWS_PER_BLOCK)[:size]).to(norms.device)
        directions = torch.from_numpy(normal).to(root) @ root
        return directions * (norms[picks].float() / directions.norm(dim=1)).unsqueeze(1)

    return _blocks(block, draws, seed)


def _blocks(block: Callable[[int, int], Directions], draws: int, seed: int) -> Iterator[Directions]:
    """Checked now, drawn later: block(number, rows) for as many rows as there are draws."""
    if draws < 1 or seed < 0:
        raise FsrlError(
            f"nulls: draws is {draws} and seed is {seed}; draws must be 1 or more, seed 0 or more"
        )
    starts = range(0, draws, DRAWS_PER_BLOCK)
    return (block(number, min(DRAWS_PER_BLOCK, draws - start)) for number, start in enumerate(starts))


def _rows(W_dec: Tensor) -> Float64[Tensor, "rows d_model"]:
    """The decoder's rows that have a direction."""
    if W_dec.dim() != 2 or not W_dec.is_floating_point():
        raise FsrlError(f"nulls: W_dec is {W_dec.dtype} {list(W_dec.shape)}; it must be a floating matrix")
    check_finite("W_dec", W_dec)
    rows = W_dec.detach().to(devices.for_float64(W_dec), torch.float64)
    rows = rows[rows.norm(dim=1) > 0]
    if not len(rows):
        raise FsrlError("nulls: every row of W_dec is 0; there is no direction to take after")
    return rows
