"""What a feature really does to the logits, beside what its weights say.

alpha * W_dec[i] is added to the residual stream at the feature's hook, at one position of real text, and the
change of that position's logits is measured over the whole vocabulary (`fsrl.effects.forward`). Per unit of
activation, u = (LN(x' ) - LN(x)) W_U / alpha, x and x' the stream at the end before and after, W_U folded.
Predicted is p W_U / s, s the final LayerNorm's scale at that position, with p of d_model numbers:

    direct        p = W_dec[i]: the logit weights; the later blocks and the change of s are left out
    corrected     p = N W_dec[i], N = P - x̂ x̂ᵀ/d: the final LayerNorm's derivative at the position is in it
    transported   p = T W_dec[i]: the later blocks too, on average over a text (`fsrl.weights.transport`)
    own_mean      p = mean of N ∂x_end/∂x W_dec[i] over the feature's own sites of that state but this one

For one position, over the tokens of the view, with w = p W_U:

    pearson, spearman   correlation of u and w
    slope               cov(u, w / s) / var(w / s):  1 if the prediction had the right size
    explained           1 - var(u - w / s) / var(u): share of the measured change that is predicted; it
                        has no free factor, and is negative where w / s is worse than no prediction at all
    overlap             share of the ten tokens that u raises most among the ten with the largest w
    std, skewness, kurtosis   of u; std times s, so that it compares with that of w

Per-position figures come first: averaging u over positions before correlating it removes what differs from
context to context and flatters the agreement; figures of the averaged change stand beside them.

Example: in a model without blocks and with a fixed final scale, u = w / s for the direct weights, and all but
the moments are 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from fsrl import threads
from fsrl.effects import forward

TOP = 10
# Rows that go through the statistics together on a CPU: their tiles stay in the cache.
ROWS_PER_BLOCK = 16
# Numbers of 4 bytes that the statistics hold of one logit on the way.
COPIES = 14
# Columns of W_U read in float64 together.
COLUMNS_PER_BLOCK = 4096
# What tells one side's tail from the other's, as `fsrl.moments.formulas.row_moments` defines it.
SIDES = ("right_kurtosis", "right_eighth", "left_eighth")
# A change smaller than this many roundings of the normalised stream is no change.
NOISE = 64.0


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """W_U of a view, centred over its tokens; the mean that was taken off; the covariance of its columns."""

    centred: Float[Tensor, "d_model n_tokens"]
    mean: Float[Tensor, "d_model"]
    covariance: Float64[Tensor, "d_model d_model"]

    @classmethod
    def of(cls, W_U: Float[Tensor, "d_model n_tokens"]) -> "Vocabulary":
        """W_U taken apart, in float64 and then in its own dtype."""
        mean, covariance = mean_and_covariance(W_U)
        centred = torch.empty_like(W_U, memory_format=torch.contiguous_format)
        for block, own in zip(*(of.split(COLUMNS_PER_BLOCK, dim=1) for of in (W_U, centred)), strict=True):
            own.copy_(block - mean[:, None])
        return cls(centred, mean.to(W_U.dtype), covariance)


def mean_and_covariance(
    W_U: Float[Tensor, "d_model n_tokens"],
) -> tuple[Float64[Tensor, "d_model"], Float64[Tensor, "d_model d_model"]]:
    """Of the columns; some of them at a time, so that no float64 copy of W_U is held."""
    blocks, n_tokens = W_U.split(COLUMNS_PER_BLOCK, dim=1), W_U.shape[1]
    mean = torch.stack([block.double().sum(1) for block in blocks]).sum(0) / n_tokens
    covariance = torch.zeros(len(W_U), len(W_U), dtype=torch.float64, device=W_U.device)
    # BLAS adds up a product in an order that depends on its threads.
    with threads.single(W_U.device):
        for block in blocks:
            exact = block - mean[:, None]
            covariance += exact @ exact.T
    return mean, covariance / n_tokens


@dataclass(frozen=True, eq=False)
class Shapes:
    """Moments of rows of logits; NaN where a row is constant."""

    mean: Float[Tensor, "n"]
    std: Float[Tensor, "n"]
    skewness: Float[Tensor, "n"]
    kurtosis: Float[Tensor, "n"]
    right_kurtosis: Float[Tensor, "n"]
    right_eighth: Float[Tensor, "n"]
    left_eighth: Float[Tensor, "n"]


@dataclass(frozen=True, eq=False)
class Ranks:
    """Of rows of logits the z-scores of ranks (NaN where a row is constant), and the columns of the ten
    largest (fewer where there are fewer tokens).
    """

    z: Float[Tensor, "n n_tokens"]
    top: Int64[Tensor, "n top"]


@dataclass(frozen=True, eq=False)
class Line:
    """Of changes with what was predicted, row by row; see the module."""

    pearson: Float64[Tensor, "*rows"]
    slope: Float64[Tensor, "*rows"]
    explained: Float64[Tensor, "*rows"]


def shapes(rows: Float[Tensor, "n d_model"], vocabulary: Vocabulary, constant: Bool[Tensor, "n"]) -> Shapes:
    """Shapes of rows @ W_U; `constant` marks those that are rounding only."""
    mean = (rows @ vocabulary.mean).masked_fill(constant, torch.nan)
    return Shapes(mean, *_in_blocks(_shapes, rows, vocabulary, constant))


def ranks(rows: Float[Tensor, "n d_model"], vocabulary: Vocabulary, constant: Bool[Tensor, "n"]) -> Ranks:
    """Ranks of rows @ W_U; they take twice the time of `shapes`."""
    return Ranks(*_in_blocks(_ranks, rows, vocabulary, constant))


def _in_blocks(
    find: Callable[..., tuple[Tensor, ...]],
    rows: Float[Tensor, "n d_model"],
    vocabulary: Vocabulary,
    constant: Bool[Tensor, "n"],
) -> list[Tensor]:
    """What `find` makes of the logits, of so many rows at a time as stay in the cache."""
    size = forward.rows(rows.device, COPIES * 4 * vocabulary.centred.shape[1])
    size = ROWS_PER_BLOCK if rows.device.type == "cpu" else size
    blocks = zip(rows.split(size), constant.split(size), strict=True)
    parts = [find(part @ vocabulary.centred, none) for part, none in blocks]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _shapes(
    logits: Float[Tensor, "n n_tokens"], constant: Bool[Tensor, "n"]
) -> tuple[Float[Tensor, "n"], ...]:
    std = logits.pow(2).mean(1).sqrt().masked_fill(constant, torch.nan)
    z = logits / std[:, None]
    squared = z * z
    return std, (squared * z).mean(1), (squared * squared).mean(1), *_sides(z)


def _ranks(
    logits: Float[Tensor, "n n_tokens"], constant: Bool[Tensor, "n"]
) -> tuple[Float[Tensor, "n n_tokens"], Int64[Tensor, "n top"]]:
    order = _order(logits)
    return _rank_z(logits, order).masked_fill(constant[:, None], torch.nan), order[:, -TOP:]


def _sides(
    z: Float[Tensor, "n n_tokens"],
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Of each row `SIDES`. No power overflows: a z-score is at most the root of the number of tokens."""
    right, left = (side.square_().square_() for side in (z.clamp(min=0), z.clamp(max=0)))
    return right.mean(1), right.square_().mean(1), left.square_().mean(1)


def is_nothing(change: Float[Tensor, "*any d_model"]) -> Bool[Tensor, "*any"]:
    """Whether a change of the normalised stream at the end is rounding only."""
    # The normalised stream has length sqrt(d_model), whatever was added.
    return change.norm(dim=-1) <= NOISE * torch.finfo(change.dtype).eps * change.shape[-1] ** 0.5


def is_unseen(
    predicted: Float[Tensor, "*#any d_model"], size: Float[Tensor, "*#any"]
) -> Bool[Tensor, "*rows"]:
    """Whether W_U sees nothing of a prediction but rounding, or there is none (NaN); size: what was added.

    The folded W_U is centred over d_model, so the part along (1, ..., 1) isn't seen.
    """
    seen = (predicted - predicted.mean(-1, keepdim=True)).norm(dim=-1)
    return (seen <= NOISE * torch.finfo(predicted.dtype).eps * size) | seen.isnan()


def line(
    change: Float[Tensor, "*#any d_model"], predicted: Float[Tensor, "*#any d_model"], vocabulary: Vocabulary
) -> Line:
    """How u lies beside w / s, of the vectors that W_U makes logits of: by its covariance, in float64.

    change: u, of the normalised stream and per unit of activation; predicted: w / s. Both broadcast.
    """
    C = vocabulary.covariance
    u, p = change.double(), predicted.double()
    images = u @ C, p @ C
    both = (images[0] * p).sum(-1)
    measured, wanted = (images[0] * u).sum(-1), (images[1] * p).sum(-1)
    return Line(
        both / (measured * wanted).sqrt(),
        (both / wanted).expand(both.shape),
        (2 * both - wanted) / measured,
    )


def spearman(
    changed: Float[Tensor, "*#any n_tokens"], predicted: Float[Tensor, "*#any n_tokens"]
) -> Float[Tensor, "*rows"]:
    """Rank correlation of z-scores of ranks (`Ranks.z`), row by row; they broadcast."""
    return (changed * predicted).mean(-1)


def overlap(
    changed: Int64[Tensor, "*#any top"], predicted: Int64[Tensor, "*#any top"]
) -> Float[Tensor, "*rows"]:
    """Share of the tokens that are raised most (`Ranks.top`) among those predicted, row by row."""
    return (changed[..., :, None] == predicted[..., None, :]).any(-1).float().mean(-1)


def odd_share(
    plus: Float[Tensor, "*sites d_model"], minus: Float[Tensor, "*sites d_model"], vocabulary: Vocabulary
) -> Float64[Tensor, "*sites"]:
    """Share of the change that turns its sign with alpha's: 1 in a linear model, 0 for a pure square.

    plus, minus: changes by +alpha and -alpha. Of the odd and the even part of the logits'
    change it is var(odd) / (var(odd) + var(even)), over the tokens; NaN where nothing changed.
    """
    parts = ((plus - minus).double(), (plus + minus).double())
    odd, even = (((part @ vocabulary.covariance) * part).sum(-1) for part in parts)
    return odd / (odd + even)


def _order(logits: Float[Tensor, "n n_tokens"]) -> Int64[Tensor, "n n_tokens"]:
    """Columns of each row in ascending order; NumPy sorts float32 six times as fast as Torch on a CPU."""
    if logits.is_cuda:
        return logits.argsort(dim=1)
    return torch.from_numpy(np.argsort(logits.numpy(), axis=1))


def _rank_z(
    logits: Float[Tensor, "n n_tokens"], order: Int64[Tensor, "n n_tokens"]
) -> Float[Tensor, "n n_tokens"]:
    """Ranks of each row, ties sharing their mean rank, as z-scores; NaN for a constant row."""
    n_tokens = logits.shape[1]
    places = torch.arange(n_tokens, dtype=logits.dtype, device=logits.device)
    ranks = torch.empty_like(logits).scatter_(1, order, places.expand_as(logits))
    ordered = logits.gather(1, order)
    tied = (ordered[:, 1:] == ordered[:, :-1]).any(1)
    if tied.any():
        shared = _mean_ranks(ordered[tied])
        ranks[tied] = torch.empty_like(shared).scatter_(1, order[tied], shared)
    ranks -= (n_tokens - 1) / 2
    return ranks / ranks.pow(2).mean(1, keepdim=True).sqrt()


def _mean_ranks(ordered: Float[Tensor, "n n_tokens"]) -> Float[Tensor, "n n_tokens"]:
    """Mean rank of each run of equal values in ascending rows."""
    n_tokens = ordered.shape[1]
    places = torch.arange(n_tokens, device=ordered.device).expand_as(ordered)
    edge = torch.ones_like(ordered[:, :1], dtype=torch.bool)
    new = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(torch.cat([edge, new], 1), places, 0).cummax(1).values
    last = torch.where(torch.cat([new, edge], 1), places, n_tokens - 1).flip(1).cummin(1).values.flip(1)
    return (first + last).to(ordered.dtype) / 2
