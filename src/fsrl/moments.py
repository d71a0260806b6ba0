"""Moments, extreme tokens and histogram of every feature's logit weights, exact over the whole vocabulary.

The logit weights of feature i are w = W_dec[i] @ W_U: one number per token, logit per unit of activation.
Population moments (ddof = 0), kurtosis not excess:

    mu = mean(w)   sigma^2 = mean((w - mu)^2)   skewness = mean(((w - mu) / sigma)^3)
    kurtosis = mean(((w - mu) / sigma)^4)       bimodality = (skewness^2 + 1) / kurtosis   (Sarle)

The matrix W_dec @ W_U (4.9 GB in float32 for one SAE of GPT-2) is never held: tiles of it are computed and
summed while they lie in the cache. W_U is centred over the vocabulary once, in float64. That changes the mean
and nothing else (the mean is restored in closed form, W_dec @ mean(W_U)), and makes every tile's power sums
sums about the row's true mean: adding them over tiles, in float64, is the exact merge of central moments.
Averaging the shapes of blocks is not: a two-level row split by token id would get kurtosis 3 instead of 1.

Example: the logit weights (0, 0, 0, 4) have mean 1, std sqrt(3), skewness 2 / sqrt(3) and kurtosis 7 / 3.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.weights import check_finite

PRECISIONS = {"fp32": torch.float32, "fp64": torch.float64}
HISTOGRAM_HALF_WIDTH = 8.0  # in standard deviations
# A tile and its squares, 0.5 MiB each in float32, stay in a core's second-level cache.
FEATURES_PER_TILE = 128
TOKENS_PER_TILE = 1024
# A std below this many roundings of the product is rounding: the row is constant.
ROUNDING_MARGIN = 8.0


@dataclass(frozen=True, eq=False)
class LogitMoments:
    """One row per feature, on the CPU; k = min(n_extremes, d_vocab).

    mean, std, skewness, kurtosis, bimodality, norm: float64 [n], NaN where a constant row has no shape;
    top_ids, bottom_ids: int64 [n, k] columns of W_U, most extreme first, ties to the lower column;
    top_weights, bottom_weights: float64 [n, k] their logit weights;
    underflow, overflow: int64 [n], counts: int64 [n, n_bins] tokens below, above and in equal bins
    [low, high) between mean - 8 std and mean + 8 std (a constant row lies in the bin that starts at, or
    holds, the mean). Ids and weights are empty where n_extremes is 0; counts, where n_bins is 0.
    """

    mean: Tensor
    std: Tensor
    skewness: Tensor
    kurtosis: Tensor
    bimodality: Tensor
    norm: Tensor
    top_ids: Tensor
    top_weights: Tensor
    bottom_ids: Tensor
    bottom_weights: Tensor
    underflow: Tensor
    counts: Tensor
    overflow: Tensor
    d_vocab: int


@dataclass(frozen=True, eq=False)
class _Vocabulary:
    """W_U made ready: columns = (W_U - mean) * scale in the product's dtype; scale is a power of two."""

    columns: Tensor  # [d_model, d_vocab]
    mean: Tensor  # float64 [d_model]
    scale: Tensor  # float64 []
    gram: Tensor | None  # float64 [d_model, d_model], second moment of the columns; only for histograms
    rounding: Tensor  # float64 [], std that rounding alone gives a direction of length 1


def row_moments(logits: Tensor) -> Tensor:
    """Mean, std, skewness and kurtosis [n, 4] of each row of `logits` (float64 [n, d_vocab]).

    The slow twin that `logit_moments` is tested against; a constant row has NaN for its shape.
    """
    std, mean = torch.std_mean(logits, dim=1, correction=0, keepdim=True)
    z = (logits - mean) / std
    return torch.cat([mean, std, z.pow(3).mean(1, True), z.pow(4).mean(1, True)], dim=1)


def implied_tokens(skewness: Tensor, kurtosis: Tensor, d_vocab: int, kappa0: float) -> Tensor:
    """Equally raised tokens on a Gaussian bulk that would give this skewness and kurtosis; shape as given.

    A share p of the vocabulary raised by h standard deviations has skewness ~ p h^3 and kurtosis ~
    kappa0 + p h^4, so p = skewness^4 / (kurtosis - kappa0)^3. kappa0 is the median kurtosis of random
    directions. NaN where skewness <= 0 or kurtosis <= kappa0.
    """
    excess = kurtosis - kappa0
    tokens = d_vocab * skewness.pow(4) / excess.pow(3)
    return tokens.masked_fill(~((skewness > 0) & (excess > 0)), torch.nan)


def logit_moments(
    W_dec: Tensor,
    W_U: Tensor,
    *,
    precision: str = "fp32",
    device: str | torch.device | None = None,
    n_extremes: int = 10,
    n_bins: int = 50,
    progress: bool = False,
) -> LogitMoments:
    """Moments, extremes and histogram of the rows of W_dec [n, d_model] @ W_U [d_model, d_vocab].

    precision: dtype of the product ("fp32" or "fp64"); sums over tiles are float64 in both. device: where to
    compute (default: where W_dec lies). n_extremes or n_bins = 0 leaves that part out. Any floating dtype
    and layout is read. Raises FsrlError for NaN or infinite weights (with their position), shapes that do
    not fit and settings out of range.
    """
    dtype = _check_arguments(W_dec, W_U, precision, n_extremes, n_bins)
    device = W_dec.device if device is None else device
    vocabulary = _prepare(W_U.detach().to(device), dtype, with_gram=n_bins > 0)
    starts: Iterable[int] = range(0, len(W_dec), FEATURES_PER_TILE)
    if progress:
        from tqdm import tqdm

        starts = tqdm(starts, desc="moments", unit="block")
    blocks = [
        _block(W_dec[start : start + FEATURES_PER_TILE].detach().to(device), vocabulary, n_extremes, n_bins)
        for start in starts
    ]
    names = [field.name for field in fields(LogitMoments) if field.name != "d_vocab"]
    columns = {name: torch.cat([block[name] for block in blocks]).cpu() for name in names}
    return LogitMoments(**columns, d_vocab=W_U.shape[1])


def _check_arguments(W_dec: Tensor, W_U: Tensor, precision: str, n_extremes: int, n_bins: int) -> torch.dtype:
    if precision not in PRECISIONS:
        raise FsrlError(f"moments: precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
    if n_extremes < 0 or n_bins < 0:
        raise FsrlError(f"moments: n_extremes is {n_extremes} and n_bins is {n_bins}; both must be 0 or more")
    for name, matrix in (("W_dec", W_dec), ("W_U", W_U)):
        if matrix.dim() != 2 or matrix.numel() == 0 or not matrix.is_floating_point():
            shape = list(matrix.shape)
            raise FsrlError(
                f"moments: {name} is {matrix.dtype} {shape}; it must be a floating matrix, not empty"
            )
        check_finite(name, matrix)
    if W_dec.shape[1] != W_U.shape[0]:
        raise FsrlError(f"moments: W_dec has d_model {W_dec.shape[1]} but W_U has {W_U.shape[0]}")
    return PRECISIONS[precision]


def _power_of_two(peak: Tensor) -> Tensor:
    """The power of two that brings `peak` (float64) into [0.5, 1); 1 for a peak of 0.

    Scaling by it is exact, and keeps fourth powers in float32's range whatever the weights' unit.
    """
    return (torch.frexp(peak).mantissa / peak).masked_fill(peak == 0, 1.0)


def _prepare(W_U: Tensor, dtype: torch.dtype, *, with_gram: bool) -> _Vocabulary:
    mean = W_U.mean(dim=1, dtype=torch.float64)
    centred = W_U - mean.unsqueeze(1)  # float64, by promotion
    scale = _power_of_two(torch.maximum(centred.max(), -centred.min()))
    centred *= scale
    d_vocab = centred.shape[1]
    spread = centred.norm() / d_vocab**0.5
    # Two roundings: of the product, and of centring (large where W_U is large beside its spread).
    offset = mean.norm() * scale
    rounding = torch.finfo(dtype).eps * spread + torch.finfo(torch.float64).eps * offset
    gram = centred @ centred.T / d_vocab if with_gram else None
    return _Vocabulary(centred.to(dtype), mean, scale, gram, ROUNDING_MARGIN * rounding)


def _block(directions: Tensor, vocabulary: _Vocabulary, n_extremes: int, n_bins: int) -> dict[str, Tensor]:
    """All columns of `LogitMoments` for one block of directions [rows, d_model]."""
    exact = directions.double()
    row_scale = _power_of_two(exact.abs().amax(dim=1))
    scaled = exact * row_scale.unsqueeze(1)
    unscale = 1.0 / (row_scale * vocabulary.scale)
    norm = scaled.norm(dim=1)
    mean = exact @ vocabulary.mean
    rows = scaled.to(vocabulary.columns.dtype)

    sums = torch.zeros(3, len(rows), dtype=torch.float64, device=rows.device)
    slots = torch.zeros(len(rows), n_bins + 2, dtype=torch.int64, device=rows.device)
    top, bottom = _no_extremes(rows), _no_extremes(rows)
    bins_per_unit = _bins_per_unit(scaled, norm, vocabulary, n_bins)
    for start in range(0, vocabulary.columns.shape[1], TOKENS_PER_TILE):
        tile = rows @ vocabulary.columns[:, start : start + TOKENS_PER_TILE]
        if n_extremes:
            top = _merge_top(top, tile, start, n_extremes)
            bottom = _merge_top(bottom, -tile, start, n_extremes)
        if bins_per_unit is not None:
            slots += _bin(tile, bins_per_unit, n_bins)
        sums += _power_sums_(tile)

    return _shape(sums / vocabulary.columns.shape[1], norm * vocabulary.rounding, unscale) | {
        "mean": mean,
        "norm": norm / row_scale,
        "top_ids": top[1],
        "top_weights": top[0] * unscale.unsqueeze(1) + mean.unsqueeze(1),
        "bottom_ids": bottom[1],
        "bottom_weights": -bottom[0] * unscale.unsqueeze(1) + mean.unsqueeze(1),
        "underflow": slots[:, 0],
        "counts": slots[:, 1:-1],
        "overflow": slots[:, -1],
    }


def _power_sums_(tile: Tensor) -> Tensor:
    """Sums of squares, cubes and fourth powers [3, rows] as float64; overwrites `tile` to save memory."""
    squares = tile * tile
    sums = [squares.sum(1), tile.mul_(squares).sum(1), squares.mul_(squares).sum(1)]
    return torch.stack(sums).double()


def _shape(central: Tensor, rounding: Tensor, unscale: Tensor) -> dict[str, Tensor]:
    """std (unscaled) and shape from the central moments 2 to 4 [3, rows]; NaN where std is rounding."""
    variance, third, fourth = central
    std = variance.sqrt()
    constant = std <= rounding
    skewness = (third / std.pow(3)).masked_fill(constant, torch.nan)
    kurtosis = (fourth / variance.pow(2)).masked_fill(constant, torch.nan)
    return {
        "std": std.masked_fill(constant, 0.0) * unscale,
        "skewness": skewness,
        "kurtosis": kurtosis,
        "bimodality": (skewness.pow(2) + 1) / kurtosis,
    }


def _no_extremes(rows: Tensor) -> tuple[Tensor, Tensor]:
    values = torch.empty(len(rows), 0, dtype=rows.dtype, device=rows.device)
    return values, values.long()


def _merge_top(best: tuple[Tensor, Tensor], tile: Tensor, start: int, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of `best` and of `tile`, whose first column is `start`: values and columns by row."""
    values, columns = _top(tile, k)
    values = torch.cat([best[0], values], dim=1)
    columns = torch.cat([best[1], columns + start], dim=1)
    # Tiles come in the order of the vocabulary, so a stable sort keeps the lower column first.
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values[:, :k], columns.gather(1, order[:, :k])


def _top(tile: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row, largest first, ties to the lower column: values and columns."""
    if tile.shape[1] <= k:
        return tile.sort(dim=1, descending=True, stable=True)
    values, columns = tile.topk(k + 1, dim=1)
    # topk picks any of equal entries: where the last one in equals the first one out, sort the whole row.
    tied = values[:, k - 1] == values[:, k]
    columns = columns[:, :k]
    if tied.any():
        columns[tied] = tile[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    columns = columns.sort(dim=1).values
    values, order = tile.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _bins_per_unit(scaled: Tensor, norm: Tensor, vocabulary: _Vocabulary, n_bins: int) -> Tensor | None:
    """Bins per scaled logit [rows, 1], from the std in closed form, sqrt(d G d); 0 for a constant row."""
    if vocabulary.gram is None:
        return None
    std = ((scaled @ vocabulary.gram) * scaled).sum(1).clamp(min=0).sqrt()
    density = n_bins / (2 * HISTOGRAM_HALF_WIDTH * std)
    density = density.masked_fill(std <= norm * vocabulary.rounding, 0.0)
    return density.to(vocabulary.columns.dtype).unsqueeze(1)


def _bin(tile: Tensor, bins_per_unit: Tensor, n_bins: int) -> Tensor:
    """int64 [rows, n_bins + 2]: tokens below, in each bin and above; the row's mean is at n_bins / 2."""
    bins = (tile * bins_per_unit + n_bins / 2).floor_().clamp_(-1, n_bins).long() + 1
    rows, slots = len(tile), n_bins + 2
    bins += torch.arange(rows, device=tile.device).unsqueeze(1) * slots
    return torch.bincount(bins.flatten(), minlength=rows * slots).view(rows, slots)
