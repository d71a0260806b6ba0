"""What the moments pass knows of W_U before it starts: its mean, its spread, the scale it is read in.

W_U is read a few hundred columns at a time, in float64, and never copied whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fsrl.moments_plan import InOrder

GRAM_STRIP = 128


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """W_U's columns are read as (column - mean) * scale; float64 on the device of the pass.

    mean: [d_model] over the columns; scale: a power of two; variance: [d_model], of the scaled rows;
    gram: [d_model, d_model], second moment of the scaled columns, None where no histogram is wanted.
    """

    W_U: Tensor
    mean: Tensor
    scale: Tensor
    variance: Tensor
    gram: Tensor | None

    def columns(self, start: int, stop: int) -> Tensor:
        """float64 [d_model, stop - start], centred and scaled."""
        chunk = _exact(self.W_U, start, stop, self.mean.device)
        return chunk.sub_(self.mean.unsqueeze(1)).mul_(self.scale)

    def noise(self, scaled: Tensor, rounding: float) -> Tensor:
        """float64 [rows]: the std that rounding alone gives these scaled directions [rows, d_model].

        Rounding adds up at random, like the terms of a row whose coordinates are independent. Of centring
        (large where W_U is large beside its spread) it may add up in step.
        """
        random = (scaled.square() @ self.variance).sqrt() * rounding
        offset = self.mean.norm() * self.scale * torch.finfo(torch.float64).eps
        return random + 8 * scaled.norm(dim=1) * offset


def power_of_two(peak: Tensor) -> Tensor:
    """The power of two that brings `peak` (float64) into [0.5, 1); 1 for a peak of 0.

    Scaling by it is exact, and keeps fourth powers in float32's range whatever the weights' unit.
    """
    return (torch.frexp(peak).mantissa / peak).masked_fill(peak == 0, 1.0)


def measure(
    W_U: Tensor, device: torch.device, tokens: int, in_order: InOrder, *, with_gram: bool
) -> Vocabulary:
    """Two passes over W_U [d_model, d_vocab], `tokens` columns at a time: the mean, then what is about it."""
    d_model, d_vocab = W_U.shape
    starts = range(0, d_vocab, tokens)

    def totals(start: int) -> tuple[Tensor, Tensor, Tensor]:
        chunk = _exact(W_U, start, start + tokens, device)
        return chunk.sum(1), chunk.amax(1), chunk.amin(1)

    total, high, low = next(parts := in_order(totals, starts))
    for part in parts:
        total, high, low = total + part[0], high.maximum(part[1]), low.minimum(part[2])
    mean = total / d_vocab
    scale = power_of_two(torch.maximum(high - mean, mean - low).max())
    bare = Vocabulary(W_U, mean, scale, mean, None)

    def products(start: int) -> Tensor:
        chunk = bare.columns(start, start + tokens)
        return _upper_products(chunk) if with_gram else chunk.square_().sum(1)

    seconds = _added(in_order(products, starts)).div_(d_vocab)
    if not with_gram:
        return Vocabulary(W_U, mean, scale, seconds, None)
    gram = seconds.triu() + seconds.triu(1).T
    return Vocabulary(W_U, mean, scale, gram.diagonal(), gram)


def _exact(W_U: Tensor, start: int, stop: int, device: torch.device) -> Tensor:
    return W_U[:, start:stop].detach().to(device, torch.float64, copy=True)


def _added(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total += part
    return total


def _upper_products(chunk: Tensor) -> Tensor:
    """chunk @ chunk.T, of which only the part on and above the diagonal is right: the rest is its mirror."""
    result = torch.zeros(len(chunk), len(chunk), dtype=chunk.dtype, device=chunk.device)
    for start in range(0, len(chunk), GRAM_STRIP):
        strip = chunk[start : start + GRAM_STRIP]
        torch.mm(strip, chunk[start:].T, out=result[start : start + GRAM_STRIP, start:])
    return result
