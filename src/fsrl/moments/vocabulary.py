"""What the moments pass knows of W_U before it starts: its mean, and the scale it is read in.

W_U is read a few hundred columns at a time, in float64, and never copied whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fsrl.moments.plan import InOrder
from fsrl.weights import columns

# So many lots of columns are read before their pages are let go.
LOTS = 32
# Over some columns: one number for each coordinate.
Totals = Float64[Tensor, "d_model"]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """W_U's columns are read as (column - mean) * scale, `tokens` at a time; on the pass' device but for W_U.

    mean: over the columns; scale: a power of two.
    """

    W_U: Float[Tensor, "d_model d_vocab"]
    mean: Float64[Tensor, "d_model"]
    scale: Float64[Tensor, ""]
    tokens: int

    @property
    def d_vocab(self) -> int:
        """How many columns there are."""
        return self.W_U.shape[1]

    @property
    def starts(self) -> range:
        """The first column of each lot."""
        return range(0, self.d_vocab, self.tokens)

    @property
    def rounding(self) -> Float64[Tensor, ""]:
        """The length of what centring may have lost of a column as it is read."""
        return self.mean.norm() * self.scale * torch.finfo(torch.float64).eps

    def columns(self, start: int, stop: int) -> Float64[Tensor, "d_model width"]:
        """Those from start to stop (or to the last one), centred and scaled."""
        chunk = _exact(self.W_U, start, stop, self.mean.device)
        # Now and then: to ask the kernel takes some hundredths of a second.
        if start // self.tokens % LOTS == LOTS - 1:
            columns.let_go(self.W_U)
        return chunk.sub_(self.mean.unsqueeze(1)).mul_(self.scale)


def power_of_two(peak: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """The power of two that brings `peak` into [0.5, 1); 1 for a peak of 0.

    Scaling by it is exact, and keeps fourth powers in float32's range whatever the weights' unit.
    """
    return (torch.frexp(peak).mantissa / peak).masked_fill(peak == 0, 1.0)


def measure(
    W_U: Float[Tensor, "d_model d_vocab"], device: torch.device, tokens: int, in_order: InOrder
) -> Vocabulary:
    """A pass over W_U, `tokens` columns at a time."""
    d_vocab = W_U.shape[1]

    def totals(start: int) -> tuple[Totals, Totals, Totals]:
        """Sum, largest and smallest entry of each row, over the columns from start on."""
        chunk = _exact(W_U, start, start + tokens, device)
        if start // tokens % LOTS == LOTS - 1:
            columns.let_go(W_U)
        return chunk.sum(1), chunk.amax(1), chunk.amin(1)

    total, high, low = next(parts := in_order(totals, range(0, d_vocab, tokens)))
    for part in parts:
        total, high, low = total + part[0], high.maximum(part[1]), low.minimum(part[2])
    mean = total / d_vocab
    return Vocabulary(W_U, mean, power_of_two(torch.maximum(high - mean, mean - low).max()), tokens)


def added(parts: Iterator[Float64[Tensor, "*shape"]]) -> Float64[Tensor, "*shape"]:
    """The sum of tensors of one shape, in their order."""
    total = next(parts)
    for part in parts:
        total += part
    return total


def _exact(
    W_U: Float[Tensor, "d_model d_vocab"], start: int, stop: int, device: torch.device
) -> Float64[Tensor, "d_model width"]:
    return W_U[:, start:stop].detach().to(device, torch.float64, copy=True)
