"""Frequency and confidence: does a feature raise tokens by how common they are, does it write where W_U is
blind?

With W the view's W_U centred over its tokens, l the log of each token's count in the training text (natural;
tokens that never occur are left out) and d a decoder row,

    frequency_slope = cov(d W, l) / var(l) = d . g        logit per unit of activation and e-fold of the count

is linear in d. With V the `dimensions` left singular vectors of W with the least singular values, its
effective null space (Stolfo et al. 2024, "Confidence Regulation Neurons in Language Models", whose token
frequency and entropy neurons these two are about),

    null_space_share = |V^T d|^2 / |d|^2

What a direction does in there moves the final norm's scale and hardly a logit. Where the final norm is a
LayerNorm, (1, ..., 1) is no such direction, since it is taken off before the scale is measured. Under
isotropic directions (1 + cos(d, g)) / 2 is Beta((n - 1) / 2, (n - 1) / 2) and the share Beta(k / 2, (n - k) /
2) in n dimensions: percentiles are exact. Transported (`fsrl.weights.transport`), T d takes the place of d
and T^T g that of g; the share of T d has no such law, its percentile is among isotropic directions carried
alike.

A decoder as a whole may write more along some of W_U's axes than isotropic directions do, those of g or of V
among them; many of its rows then exceed these, and none says more than the others. So slope / norm and the
share have a second percentile each, among `DRAWS` directions with the layer's mean spectrum along those axes
(`fsrl.nulls.directions`); transported, along the axes of T^T W_U, and carried alike.

Example: with two tokens, W = (1, -1) along the first of three dimensions and counts e and 1, l varies by 1 /
4 and the slope of d = (2, 0, 0) is 2 * cov((1, -1), (1, 0)) / (1 / 4) = 4.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64
from scipy import special
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.weights import columns

# Directions among which a transported share has its percentile, and all that stand beside the spectrum.
DRAWS = 20_000
# Null directions, in blocks, for a W_U.
Spectrum = Callable[[Float64[Tensor, "d_model columns"]], Iterable[Float[Tensor, "rows d_model"]]]


@dataclass(frozen=True, eq=False)
class Reader:
    """What is read off a view's W_U. slope: g, None where counts are unknown; null_space: V; root: a matrix
    of the same W W^T, all that null directions read of W_U.
    """

    slope: Float64[Tensor, "d_model"] | None
    null_space: Float64[Tensor, "d_model dimensions"]
    root: Float64[Tensor, "d_model columns"]


def reader(
    W_U: Float[Tensor, "d_model n_tokens"],
    counts: Int64[Tensor, "n_tokens"] | None,
    *,
    null_space: float,
    layer_norm: bool,
) -> Reader:
    """Of a view's W_U and its tokens' counts.

    null_space: share of the dimensions that counts as null, at least one of them; layer_norm: whether
    (1, ..., 1) is left out. Raises FsrlError for a share that leaves no dimension.
    """
    d_model = W_U.shape[0]
    dimensions = max(1, round(null_space * d_model))
    if dimensions >= d_model:
        raise FsrlError(f"confidence: null_space is {null_space}, all {d_model} dimensions; take less than 1")
    gram = columns.centred_gram(W_U)
    values, vectors = torch.linalg.eigh(gram)
    root = vectors * (values.clamp(min=0) / 2).sqrt()
    if layer_norm:
        gram = gram + gram.trace() / d_model * torch.ones_like(gram)
        vectors = torch.linalg.eigh(gram).eigenvectors
    # Each column with its negative: their mean is zero, as is that of W's.
    return Reader(_slope(W_U, counts), vectors[:, :dimensions], torch.cat([root, -root], dim=1))


def _slope(
    W_U: Float[Tensor, "d_model n_tokens"], counts: Int64[Tensor, "n_tokens"] | None
) -> Float64[Tensor, "d_model"] | None:
    """None too where all counts are one."""
    if counts is None:
        return None
    known = counts > 0
    if not known.any() or counts[known].min() == counts[known].max():
        return None
    logs = counts[known].double().log()
    logs = logs - logs.mean()
    weight = torch.zeros(len(counts), dtype=torch.float64).masked_scatter(known, logs).to(W_U.device)
    centre, known = columns.mean(W_U), known.to(W_U.device)
    found = torch.zeros_like(centre)
    for tile in columns.tiles(W_U):
        seen = known[tile]
        found += (W_U[:, tile][:, seen].double() - centre.unsqueeze(1)) @ weight[tile][seen]
    return found / logs.square().sum()


def slopes(
    rows: Float64[Tensor, "n d_model"], slope: Float64[Tensor, "d_model"] | None
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Frequency slope of each row, and its percentile; NaN where it is unknown, or a row is zero."""
    if slope is None:
        return (np.full(len(rows), np.nan), np.full(len(rows), np.nan))
    found, norms = rows @ slope, rows.norm(dim=1) * slope.norm()
    cosine = (found / norms).clamp(-1, 1).cpu().numpy()
    half = (rows.shape[1] - 1) / 2
    return found.cpu().numpy(), special.betainc(half, half, (1 + cosine) / 2)


def null_shares(
    rows: Float64[Tensor, "n d_model"], null_space: Float64[Tensor, "d_model dimensions"]
) -> Float64[np.ndarray, "n"]:
    """Share of each row's square in the null space; NaN for a zero row."""
    return ((rows @ null_space).square().sum(1) / rows.square().sum(1)).clamp(max=1).cpu().numpy()


def percentile_of_share(
    share: Float64[np.ndarray, "n"], d_model: int, dimensions: int
) -> Float64[np.ndarray, "n"]:
    """Of shares of isotropic directions, exactly."""
    return special.betainc(dimensions / 2, (d_model - dimensions) / 2, share)


def confidence_frame(
    W_dec: Float[Tensor, "d_sae d_model"],
    read: Reader,
    T: Float[Tensor, "d_model d_model"] | None,
    *,
    spectrum: Spectrum,
    seed: int,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """The table `confidence`: a row a feature.

    T: of the hook, None where a study has none; spectrum: directions of the layer's kind `spectrum`; seed,
    draws: of isotropic directions.
    """
    rows, space = W_dec.double(), read.null_space
    d_model, dimensions = space.shape
    columns = dict(zip(("frequency_slope", "frequency_percentile"), slopes(rows, read.slope), strict=True))
    share = null_shares(rows, space)
    columns |= {"null_space_share": share}
    columns |= {"null_space_percentile": percentile_of_share(share, d_model, dimensions)}
    unknown = np.full(len(rows), np.nan)
    carried = dict.fromkeys([f"transported_{name}" for name in columns], unknown)
    if T is not None:
        exact = T.double()
        found = slopes(rows, None if read.slope is None else exact.T @ read.slope)
        moved = null_shares(rows @ exact.T, space)
        isotropic = torch.from_numpy(np.random.default_rng(seed).standard_normal((draws, d_model)))
        drawn = np.sort(null_shares(isotropic.to(exact) @ exact.T, space))
        among = np.where(np.isnan(moved), np.nan, np.searchsorted(drawn, moved) / draws)
        carried = dict(zip(carried, (*found, moved, among), strict=True))
    alike = _among(spectrum, rows, read, None)
    moved_alike = dict.fromkeys(alike, unknown) if T is None else _among(spectrum, rows, read, T.double())
    alike |= {f"transported_{name}": found for name, found in moved_alike.items()}
    frame = pd.DataFrame(columns | carried | alike)
    frame.insert(0, "feature", np.arange(len(rows), dtype=np.int32))
    return frame


def _among(
    spectrum: Spectrum,
    rows: Float64[Tensor, "n d_model"],
    read: Reader,
    T: Float64[Tensor, "d_model d_model"] | None,
) -> dict[str, Float64[np.ndarray, "n"]]:
    """Percentiles of the slope / norm and of the share among directions of the layer's spectrum."""
    drawn = torch.cat([*spectrum(read.root if T is None else T.T @ read.root)]).to(rows)
    found = []
    for value, chance in zip(_scale_free(rows, read, T), _scale_free(drawn, read, T), strict=True):
        below = np.searchsorted(np.sort(chance), value) / len(chance)
        found.append(np.where(np.isnan(value), np.nan, below))
    return {"frequency_spectrum_percentile": found[0], "null_space_spectrum_percentile": found[1]}


def _scale_free(
    rows: Float64[Tensor, "n d_model"], read: Reader, T: Float64[Tensor, "d_model d_model"] | None
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Slope / norm, and the share, of rows as they are or carried."""
    slope, moved = read.slope, rows
    if T is not None:
        slope, moved = None if slope is None else T.T @ slope, rows @ T.T
    return slopes(rows, slope)[0] / rows.norm(dim=1).cpu().numpy(), null_shares(moved, read.null_space)
