"""p of a row's alignment with a token set from a null of the row's own, honest where rows are no Gaussians.

r, the cosine between a whitened decoder row and the coloured direction of a set (see
`fsrl.enrichment.statistics`), follows Student's t if rows are drawn from N(0, C). Rows of real decoders are
heavy-tailed along C's large axes, where the directions of sets lie too, and t over-calls. So each row is held
as it is, and the set's delta is replaced by some that know nothing of the set, of two kinds:

    turned   turned at random in the residual stream
    random   of random sets of as many tokens: sets of 5 and of 20 are drawn, and for large ones their limit,
             normal deltas with the covariance of W_U's columns. In between log p is interpolated linearly in
             1 / m, in which the cumulants of a mean of m tokens are. (A set and its complement have the same
             direction: m is the smaller size.)

p is the larger of both. Under each kind, p of |r| is counted among some draws above `TAIL`; beyond, with
y = -log10 of Student's p of |r|, a generalised Pareto tail is fitted to y by probability-weighted moments
(Hosking and Wallis 1987), with no shape below 0. For a Gaussian row y is exponential with mean 1 / ln 10.
Against the exact p of turned and of normal directions (a ratio of quadratic forms), p of 1e-6 is off by a
third of a decade, mostly upwards.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from fsrl.constants import RANDOM_SET_SIZES
from fsrl.enrichment.covariance import LayerCovariance
from fsrl.stats import rates
from fsrl.weights import columns

# What stands for the limit of large sets: 1 / m is 0.
LIMIT = 0
# Share of the draws to which the tail is fitted.
TAIL = 0.02
# Draws that p above TAIL is counted among.
COUNTED = 500
LARGEST_SHAPE = 0.9
# By so many standard errors (of a shape of 0: the root of 4 / 3 over the draws in the tail) the shape for
# small random sets is taken larger: a single token makes such a tail a mixture, and a shape estimated too
# small costs more than one too large. On seeds that did not choose it, random sets of 5 to 20 tokens at
# mini's hook 0 made a discovery in 7 of 300 repetitions with it and in 36 without; at the other hooks both
# keep the level. Four times the draws fitted four times as deep did not help, nor did sets of 10 beside.
MARGIN = 1.0
# Of the tail, as a share of that of a Gaussian row: only rows with a handful of possible cosines have less.
SMALLEST_SCALE = 0.1
LN10 = math.log(10)
# Points of the table that turns cosines into Student's p, even in sqrt(-log(1 - r^2)): off by 3e-5 at most.
GRID = 8192
TOKENS_PER_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class NullDirections:
    """Directions beside which sets are tested: turned at random, and of random sets by their size.

    Those of `null_directions` are deltas [d_model, draws]; those of `of_layer` are C^1/2 delta of length 1.
    """

    turned: Float32[Tensor, "dimensions draws"]
    random: Mapping[int, Float32[Tensor, "dimensions draws"]]

    def of_layer(self, covariance: LayerCovariance) -> "NullDirections":
        """Coloured by the layer's C; zeros where nothing is left."""
        random = {size: coloured(own, covariance) for size, own in self.random.items()}
        return NullDirections(coloured(self.turned, covariance), random)


def null_directions(W_U: Float[Tensor, "d_model n_tokens"], *, draws: int, seed: int) -> NullDirections:
    """`draws` directions of each kind, where W_U lies; a size above half of its tokens is left out.

    The same seed gives the same directions, up to rounding on another device.
    """
    generator = torch.Generator().manual_seed(seed)
    d_model, n_tokens = W_U.shape
    turned, normal = torch.randn(2, d_model, draws, generator=generator).to(W_U.device)
    tokens = CentredTokens.of(W_U)
    random = {LIMIT: (_root(tokens) @ normal.double()).float()}
    for size in RANDOM_SET_SIZES:
        if 2 * size <= n_tokens:
            random[size] = random_deltas(tokens, size, draws, generator)
    return NullDirections(turned, random)


@dataclass(frozen=True, eq=False)
class CentredTokens:
    """The centred columns of W_U: held where it is small, else made when they are asked for (`centre` is
    then the mean that has to be taken off).
    """

    W_U: Float32[Tensor, "d_model n_tokens"]
    centre: Float32[Tensor, "d_model"] | None

    @classmethod
    def of(cls, W_U: Float[Tensor, "d_model n_tokens"]) -> "CentredTokens":
        """Of a W_U of any size."""
        if columns.is_large(W_U):
            return cls(W_U.float(), columns.mean(W_U).float())
        # Token by token in memory: random ones are gathered, and W_U's own order has each in d_model places.
        tokens = W_U.T.float().contiguous()
        return cls((tokens - tokens.mean(dim=0, dtype=torch.float64).float()).T, None)

    def __len__(self) -> int:
        return self.W_U.shape[1]

    def tiles(self) -> Iterator[tuple[slice, Float32[Tensor, "d_model width"]]]:
        """All columns, some at a time (`fsrl.weights.columns`), and which they are."""
        for tile in columns.tiles(self.W_U):
            part = self.W_U[:, tile]
            yield tile, part if self.centre is None else part - self.centre[:, None]

    def rows(self, ids: Int64[Tensor, "n"]) -> Float32[Tensor, "n d_model"]:
        """The columns of these ids, a row each."""
        found = self.W_U.T[ids.to(self.W_U.device)]
        return found if self.centre is None else found - self.centre


def _root(tokens: CentredTokens) -> Float64[Tensor, "d_model d_model"]:
    """The symmetric root of the Gram matrix of the tokens' centred columns of W_U.

    What is drawn through it does not hang on the eigenvectors' signs, which each library chooses.
    """
    d_model = len(tokens.W_U)
    gram = torch.zeros(d_model, d_model, dtype=torch.float64, device=tokens.W_U.device)
    for _, tile in tokens.tiles():
        for part in tile.T.split(TOKENS_PER_BLOCK):
            exact = part.double()
            gram += exact.T @ exact
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def random_deltas(
    tokens: CentredTokens, size: int, draws: int, generator: torch.Generator
) -> Float[Tensor, "d_model draws"]:
    """delta of random sets of `size` tokens."""
    d_model, n_tokens = tokens.W_U.shape
    found = torch.empty(draws, d_model, dtype=tokens.W_U.dtype, device=tokens.W_U.device)
    each = n_tokens // size  # sets that one shuffled vocabulary is cut into
    at_once = max(1, columns.TILE // (size * d_model)) if columns.is_large(tokens.W_U) else each
    for start in range(0, draws, each):
        order = torch.randperm(n_tokens, generator=generator)[: min(each, draws - start) * size]
        for number, part in enumerate(order.split(at_once * size)):
            means = tokens.rows(part).view(-1, size, d_model).mean(dim=1)
            begin = start + number * at_once
            found[begin : begin + len(means)] = means
        columns.let_go(tokens.W_U)
    return found.T


def coloured(
    directions: Float[Tensor, "d_model draws"], covariance: LayerCovariance
) -> Float32[Tensor, "k draws"]:
    """C^1/2 delta of length 1; zeros where it has none."""
    found = covariance.colour.T.float() @ directions.float()
    return found.div_(found.norm(dim=0)).nan_to_num_(0.0)


@dataclass(frozen=True, eq=False)
class RowNull:
    """What |r| of some rows is under one kind of directions.

    counted: ascending; start: where the tail begins; surprise: -log10 of Student's p there; share: of the
    draws beyond; shape, scale: of the generalised Pareto tail of -log10 of Student's p; k: rank of C.
    """

    counted: Float32[Tensor, "rows counted"]
    start: Float32[Tensor, "rows 1"]
    surprise: Float64[Tensor, "rows 1"]
    shape: Float64[Tensor, "rows 1"]
    scale: Float64[Tensor, "rows 1"]
    share: float
    k: int

    @classmethod
    def of(
        cls, white: Float[Tensor, "rows k"], directions: Float32[Tensor, "k draws"], *, margin: float = 0.0
    ) -> "RowNull":
        """white: rows of length 1; directions: as `coloured` gives them; margin: standard errors that are
        added to the estimated shape.
        """
        k, draws = directions.shape
        cosines = (white.float() @ directions).abs_()
        in_tail = max(int(TAIL * draws), 2)
        top = largest(cosines, in_tail + 1)
        surprises = _surprise(top, k)
        surprise, excess = surprises[:, -1:], surprises[:, :-1] - surprises[:, -1:]  # descending
        first = excess.mean(dim=1, keepdim=True)
        weights = torch.arange(in_tail, device=white.device) / (in_tail - 1)
        second = (excess * weights).mean(dim=1, keepdim=True)
        shape = (2 - first / (first - 2 * second)).nan_to_num(0.0)
        shape = (shape.clamp(min=0) + margin * math.sqrt(4 / 3 / in_tail)).clamp(max=LARGEST_SHAPE)
        scale = (first * (1 - shape)).clamp(min=SMALLEST_SCALE / LN10)
        counted = _sorted(cosines[:, :COUNTED])
        return cls(counted, top[:, -1:], surprise, shape, scale, in_tail / draws, k)

    def log10_p(self, cosines: Float64[Tensor, "rows n"]) -> Float64[Tensor, "rows n"]:
        """log10 p of each row's cosines of either sign; NaN stays NaN."""
        single = cosines.abs().float().contiguous()
        n = self.counted.shape[1]
        below = torch.searchsorted(self.counted, single)
        result = ((1 + n - below).double() / (1 + n)).clamp(min=self.share).log10()
        beyond = single > self.start
        result[beyond] = self.tail_log10_p(beyond.nonzero()[:, 0], cosines[beyond])
        return result.masked_fill(cosines.isnan(), torch.nan)

    def tail_log10_p(self, row: Int64[Tensor, "n"], cosines: Float64[Tensor, "n"]) -> Float64[Tensor, "n"]:
        """log10 p of a cosine of each of these rows, in the tail; before it p is at least what is given here:
        the tail's share.
        """
        shape, scale = self.shape[row, 0], self.scale[row, 0]
        own = -rates.log10_p(student(cosines, self.k).cpu().numpy(), self.k - 1)
        excess = (torch.from_numpy(own).to(scale) - self.surprise[row, 0]).clamp(min=0) / scale
        tail = torch.where(shape > 0, (shape * excess).log1p() / shape, excess)
        return math.log10(self.share) - tail / LN10


def largest(values: Float32[Tensor, "rows n"], k: int) -> Float32[Tensor, "rows k"]:
    """The k largest of each row, descending; NaN is larger than all."""
    if values.device.type == "cuda":
        return values.topk(k, dim=1).values
    # On a CPU numpy selects and sorts with vector units, in a third of the time.
    found = np.partition(values.numpy(), values.shape[1] - k, axis=1)[:, -k:]
    return torch.from_numpy(np.sort(found, axis=1)[:, ::-1].copy())


def _sorted(values: Float32[Tensor, "rows n"]) -> Float32[Tensor, "rows n"]:
    if values.device.type == "cuda":
        return values.sort(dim=1).values
    return torch.from_numpy(np.sort(values.numpy(), axis=1))


def student(cosines: Float64[Tensor, "*any"], k: int) -> Float64[Tensor, "*any"]:
    """t of cosines in k dimensions; of one that is 1 to rounding, the largest that float64 resolves."""
    unexplained = (1 - cosines.pow(2)).clamp(min=torch.finfo(torch.float64).eps)
    return cosines * ((k - 1) / unexplained).sqrt()


def _surprise(cosines: Float32[Tensor, "rows n"], k: int) -> Float64[Tensor, "rows n"]:
    """-log10 of Student's p, from a table: scipy's function would take longer than the draws."""
    steps, table = _table(k)
    unexplained = (1 - cosines.double().pow(2)).clamp(min=torch.finfo(torch.float64).eps)
    place = (-unexplained.log()).clamp(min=0).sqrt().cpu().numpy()
    return torch.from_numpy(np.interp(place, steps, table)).to(cosines.device)


@cache
def _table(k: int) -> tuple[Float64[np.ndarray, "steps"], Float64[np.ndarray, "steps"]]:
    """sqrt(-log(1 - r^2)) and -log10 of Student's p there; the same for every null of a layer."""
    steps = np.linspace(0, math.sqrt(-math.log(torch.finfo(torch.float64).eps)), GRID)
    return steps, -rates.log10_p(np.sqrt(np.expm1(steps**2) * (k - 1)), k - 1)


@dataclass(frozen=True, eq=False)
class RowNulls:
    """What |r| of some rows is under directions turned at random, and under random sets by their size."""

    turned: RowNull
    random: Mapping[int, RowNull]

    @classmethod
    def of(cls, white: Float[Tensor, "rows k"], nulls: NullDirections) -> "RowNulls":
        """white: rows of length 1; nulls: the layer's."""
        return cls(RowNull.of(white, nulls.turned), of_random_sets(white, nulls.random))

    def log10_p(
        self, cosines: Float64[Tensor, "rows n_sets"], sizes: Int64[Tensor, "n_sets"], n_tokens: int
    ) -> Float64[Tensor, "rows n_sets"]:
        """log10 p of the rows' cosines with sets of these sizes among n_tokens. NaN stays NaN."""
        found = torch.zeros_like(cosines)
        for size, weight in _weights(torch.minimum(sizes, n_tokens - sizes), sorted(self.random)).items():
            own = weight.nonzero()[:, 0].to(cosines.device)
            if len(own):
                p = self.random[size].log10_p(cosines[:, own])
                found[:, own] += weight.to(p)[own] * p
        return torch.maximum(self.turned.log10_p(cosines), found)

    def tail_log10_p(
        self, cosines: Float64[Tensor, "rows n_sets"], sizes: Int64[Tensor, "n_sets"], n_tokens: int
    ) -> Float64[Tensor, "rows n_sets"]:
        """The same where p against turned directions is in its tail; 0, p of 1, elsewhere. Where p against
        random sets is in no tail, it is taken to be `TAIL`.
        """
        row, column = (cosines.abs().float() > self.turned.start).nonzero(as_tuple=True)
        own = cosines[row, column]
        found = torch.zeros_like(cosines)
        found[row, column] = torch.maximum(
            self.turned.tail_log10_p(row, own),
            random_tail_log10_p(self.random, row, own, sizes[column.to(sizes.device)], n_tokens),
        )
        return found.masked_fill(cosines.isnan(), torch.nan)


def of_random_sets(
    white: Float[Tensor, "rows k"], random: Mapping[int, Float32[Tensor, "k draws"]]
) -> dict[int, RowNull]:
    """random: by their size, as `coloured` gives them."""
    return {size: RowNull.of(white, own, margin=MARGIN if size else 0.0) for size, own in random.items()}


def random_tail_log10_p(
    random: Mapping[int, RowNull],
    row: Int64[Tensor, "n"],
    cosines: Float64[Tensor, "n"],
    sizes: Int64[Tensor, "n"],
    n_tokens: int,
) -> Float64[Tensor, "n"]:
    """log10 p of a cosine of each of these rows with a set of this size, as `RowNull.tail_log10_p`."""
    found = torch.zeros_like(cosines)
    for size, weight in _weights(torch.minimum(sizes, n_tokens - sizes), sorted(random)).items():
        own = weight.nonzero()[:, 0].to(cosines.device)
        found[own] += weight.to(found)[own] * random[size].tail_log10_p(row[own], cosines[own])
    return found


def _weights(sizes: Int64[Tensor, "n_sets"], drawn: list[int]) -> dict[int, Float64[Tensor, "n_sets"]]:
    """How much each drawn size counts for sets of `sizes`, by 1 / size; smaller sets as the smallest."""
    place = {size: 1 / size if size else 0.0 for size in drawn}
    ends = sorted(place.values())
    found = {}
    for size, own in place.items():
        hat = [float(end == own) for end in ends]
        found[size] = torch.from_numpy(np.interp(1 / sizes.clamp(min=1).cpu().double().numpy(), ends, hat))
    return found
