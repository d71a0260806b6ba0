"""Several readings of one product W_dec @ W_U: some tokens left out, weights or cosines.

A pass computes p = d . x_j for every feature d and column x_j = (u_j - mean(u)) * scale of W_U, once. A
reading keeps the columns K of it. With a the mean of the x_j over K, what it shows of a token is

    y = ((p - d . a) * c_j) - d . b      c_j = 1 and b = 0, or for cosines
                                         c_j = 1 / |x_j - a| and b = mean over K of (x_j - a) * c_j

so that y is about the feature's mean over K. d . a and d . b have a closed form, as has std: b, c_j and the
second moment of the columns as read are known before the pass (`Lens`). Where the mean of the kept tokens is
that of all, p is read to its full precision; where a column lies much nearer to the first than to the second,
a cosine loses as many digits as the ratio of the two distances has.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.moments.plan import InOrder
from fsrl.moments.vocabulary import Vocabulary, added
from fsrl.weights.matrices import no_direction

GRAM_STRIP = 128
# Sums over columns: of their squares, or of the products of their coordinates.
Seconds = Float64[Tensor, "d_model"] | Float64[Tensor, "d_model d_model"]


@dataclass(frozen=True, eq=False)
class Reading:
    """One way to read W_dec @ W_U; the default reads every logit weight as it is.

    columns: int64 [kept], the columns of W_U that count, ascending, or None for all; cosine: W_U's columns
    are centred over those that count, then they and W_dec's rows get length 1 (a zero row stays zero).
    """

    columns: Tensor | None = None
    cosine: bool = False

    def kept(self, d_vocab: int) -> Int64[Tensor, "kept"] | None:
        """`columns` on the CPU, None where all count; FsrlError where they are no columns of W_U."""
        if self.columns is None:
            return None
        found = self.columns.detach().cpu()
        if found.dtype != torch.int64 or found.dim() != 1 or not len(found):
            raise FsrlError(
                f"moments: a reading's columns are {found.dtype} {list(found.shape)}; they must be a list of"
                " int64, not empty"
            )
        if found[0] < 0 or found[-1] >= d_vocab or (found.diff() <= 0).any():
            raise FsrlError(
                f"moments: a reading's columns must ascend and lie between 0 and {d_vocab - 1}, W_U's last"
            )
        return None if len(found) == d_vocab else found


class Piece(NamedTuple):
    """What a reading keeps of a tile: tokens start to start + width of its own, which lie in the tile's
    `columns` (None where these are its first ones), and their `factors`, in the tile's dtype.
    """

    start: int
    width: int
    columns: Int64[Tensor, "width"] | None
    factors: Float[Tensor, "width"]


@dataclass(frozen=True, eq=False)
class Lens:
    """A reading's columns, as the module says; on the device of the pass.

    columns: on the CPU, or None for all; factors: the c_j; shift, centre: a and b; mean: of the columns in
    their own unit, and scale: what they are multiplied by; variance: of the columns as read; gram: about b,
    None where not asked for; rounding: the length of what centring may have lost of a column as read.
    """

    columns: Int64[Tensor, "count"] | None
    count: int
    cosine: bool
    factors: Float64[Tensor, "count"]
    shift: Float64[Tensor, "d_model"]
    centre: Float64[Tensor, "d_model"]
    mean: Float64[Tensor, "d_model"]
    scale: Float64[Tensor, ""]
    variance: Float64[Tensor, "d_model"]
    gram: Float64[Tensor, "d_model d_model"] | None
    rounding: Float64[Tensor, ""]

    @property
    def plain(self) -> bool:
        """Whether the product is read as it is."""
        return self.columns is None and not self.cosine

    def piece(self, first: int, stop: int, dtype: torch.dtype) -> Piece:
        """Of the tile that holds W_U's columns from first to stop; factors in the tile's dtype."""
        low, high, places = _within(self.columns, first, stop)
        if places is not None:
            places = places.to(self.factors.device)
        return Piece(low, high - low, places, self.factors[low:high].to(dtype))

    def spread(self, scaled: Float64[Tensor, "rows d_model"]) -> Float64[Tensor, "rows"]:
        """The std that these scaled directions would have, were the coordinates of W_U's columns independent.

        The true one is at most sqrt(d_model) times as large.
        """
        return (scaled.square() @ self.variance).sqrt()

    def noise(self, scaled: Float64[Tensor, "rows d_model"], rounding: float) -> Float64[Tensor, "rows"]:
        """The std that rounding alone gives these scaled directions.

        Rounding adds up at random, like the terms of a row whose coordinates are independent; what is
        subtracted from the product is rounded with it. Of centring (large where W_U is large beside its
        spread) it may add up in step.
        """
        factor = self.factors.square().mean().sqrt()
        random = self.spread(scaled) + (scaled.square() @ self.shift.square()).sqrt() * factor
        offset = (scaled @ self.shift).abs() * factor + (scaled @ self.centre).abs()
        return (random + offset) * rounding + 8 * scaled.norm(dim=1) * self.rounding * factor


def focus(vocabulary: Vocabulary, reading: Reading, in_order: InOrder, *, with_gram: bool) -> Lens:
    """A pass over W_U, and one before it for a reading that leaves tokens out.

    Raises FsrlError for columns that W_U lacks, and where a column has no direction to take a cosine of.
    """
    columns = reading.kept(vocabulary.d_vocab)
    count = vocabulary.d_vocab if columns is None else len(columns)

    def read(start: int) -> Float64[Tensor, "d_model width"]:
        """The columns that count, of a lot."""
        chunk = vocabulary.columns(start, start + vocabulary.tokens)
        low, high, places = _within(columns, start, start + vocabulary.tokens)
        return chunk[:, : high - low] if places is None else chunk[:, places.to(chunk.device)]

    shift = torch.zeros_like(vocabulary.mean)
    factors = shift.new_empty(count)
    if columns is not None:
        shift = added(in_order(lambda start: read(start).sum(1), vocabulary.starts)) / count

    # Shorter than this a column is the rounding of the mean that was subtracted.
    least = 8 * (vocabulary.rounding + shift.norm() * torch.finfo(shift.dtype).eps)

    def products(start: int) -> tuple[Seconds, Float64[Tensor, "d_model"], Float64[Tensor, "width"]]:
        """Of a lot as it is read: its second moments, its sum, and what its columns are multiplied by."""
        chunk = read(start).sub_(shift.unsqueeze(1))
        lengths = torch.ones(chunk.shape[1], dtype=chunk.dtype, device=chunk.device)
        if reading.cosine:
            lengths = chunk.norm(dim=0)
            _check_directions(lengths, columns, start, least)
            chunk.div_(lengths)
        total = chunk.sum(1)
        return (_upper_products(chunk) if with_gram else chunk.square_().sum(1)), total, 1 / lengths

    seconds, total, inverse = next(parts := in_order(products, vocabulary.starts))
    # Into room made before: small tensors that are kept from between large ones hold up what these leave.
    factors[: len(inverse)], done = inverse, len(inverse)
    for part in parts:
        seconds += part[0]
        total += part[1]
        factors[done : done + len(part[2])] = part[2]
        done += len(part[2])
    return _lens(vocabulary, reading, columns, factors, shift, total, seconds)


def _lens(
    vocabulary: Vocabulary,
    reading: Reading,
    columns: Int64[Tensor, "count"] | None,
    factors: Float64[Tensor, "count"],
    shift: Float64[Tensor, "d_model"],
    total: Float64[Tensor, "d_model"],
    seconds: Seconds,
) -> Lens:
    """From sums over the columns as read: of themselves; of squares, or of products above the diagonal."""
    count = len(factors)
    seconds = seconds / count
    gram, variance = None, seconds
    if seconds.dim() == 2:
        gram, variance = seconds.triu() + seconds.triu(1).T, seconds.diagonal().clone()
    scale, mean = vocabulary.scale, vocabulary.mean
    # The columns of a reading without cosines are centred by what was subtracted from them.
    centre = torch.zeros_like(mean)
    if reading.cosine:
        scale, mean = torch.ones_like(scale), total / count
        centre = mean
        if gram is not None:
            gram.addr_(centre, centre, alpha=-1)
    elif columns is not None:
        mean = mean + shift / scale
    return Lens(
        columns=columns,
        count=count,
        cosine=reading.cosine,
        factors=factors,
        shift=shift,
        centre=centre,
        mean=mean,
        scale=scale,
        variance=variance,
        gram=gram,
        rounding=vocabulary.rounding,
    )


def _within(
    columns: Int64[Tensor, "kept"] | None, start: int, stop: int
) -> tuple[int, int, Int64[Tensor, "places"] | None]:
    """Which of the columns lie from start to stop: the first, the one after the last, and where they lie.

    The places count from start, and are None where the columns are the first ones there, or all are kept.
    """
    if columns is None:
        return start, stop, None
    low, high = torch.searchsorted(columns, torch.tensor([start, stop])).tolist()
    places = columns[low:high] - start
    first_ones = not len(places) or int(places[-1]) == len(places) - 1
    return low, high, None if first_ones else places


def _check_directions(
    lengths: Float64[Tensor, "width"],
    columns: Int64[Tensor, "kept"] | None,
    start: int,
    least: Float64[Tensor, ""],
) -> None:
    """FsrlError for the first column, of those from start, that is no longer than `least`."""
    without = lengths <= least
    if without.any():
        place = int(without.int().argmax())
        low = _within(columns, start, start)[0]
        raise no_direction(start + place if columns is None else int(columns[low + place]))


def _upper_products(chunk: Float64[Tensor, "d_model width"]) -> Float64[Tensor, "d_model d_model"]:
    """chunk @ chunk.T, of which only the part on and above the diagonal is right: the rest is its mirror."""
    result = torch.zeros(len(chunk), len(chunk), dtype=chunk.dtype, device=chunk.device)
    for start in range(0, len(chunk), GRAM_STRIP):
        strip = chunk[start : start + GRAM_STRIP]
        torch.mm(strip, chunk[start:].T, out=result[start : start + GRAM_STRIP, start:])
    return result
