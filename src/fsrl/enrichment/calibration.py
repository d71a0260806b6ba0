"""Does the test of token sets keep its level? p of a layer's real rows where there is nothing to find.

Three kinds of nothing, `repetitions` of each:

    shuffled   the view's sets, the vocabulary's tokens shuffled: as many sets of the same sizes and overlaps
    random     random sets of as many tokens as `SIZES` says, at most `RANDOM_SETS` of each
    turned     the view's sets beside the layer's rows, all of them turned in the residual stream by one
               random rotation

Everything called significant here is false, so that a test that keeps its false discovery rate at `level`
calls anything in at most that share of repetitions, up to chance (`fsrl.enrichment.null_frames` counts them).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from scipy import special
from torch import Tensor

from fsrl import devices
from fsrl.enrichment import row_nulls
from fsrl.enrichment import statistics as enrichment
from fsrl.enrichment.covariance import LayerCovariance, layer_covariance
from fsrl.enrichment.row_nulls import CentredTokens, NullDirections, RowNulls
from fsrl.stats import rates

SIZES = (5, 10, 30, 100, 1000)
RANDOM_SETS = 20
# Rows of a layer, evenly spaced, that are looked at.
FEATURES = 1000
LOG10_TAIL = math.log10(row_nulls.TAIL)


@dataclass(frozen=True, eq=False)
class NullTests:
    """One repetition of one kind. tokens: of each random set, else None; k: rank of C; z: the textbook's, of
    the first repetition of shuffled sets and of turned rows, else None.

    With shuffled sets log10_p is there resolved throughout. Elsewhere it is where it can be called, in the
    tail (see `fsrl.enrichment.row_nulls.RowNulls.tail_log10_p`), and 0 or a lower bound where it cannot.
    """

    kind: str
    tokens: int | None
    repetition: int
    t: Float32[np.ndarray, "features n_sets"]
    log10_p: Float32[np.ndarray, "features n_sets"]
    z: Float32[np.ndarray, "features n_sets"] | None
    k: int

    def discoveries(self, level: float) -> int:
        """Tests that Benjamini and Hochberg call at `level`."""
        return rates.discoveries(self.log10_p, level)

    def student_discoveries(self, level: float) -> int:
        """The same if t were Student's."""
        return rates.discoveries(student_log10_p(self.t, self.k, level), level)


def student_log10_p(
    t: Float[np.ndarray, "*any"], k: int, largest: float = 1.0
) -> Float64[np.ndarray, "*any"]:
    """log10 of Student's two-sided p on k - 1 degrees; what is above `largest` is given as 1."""
    found = np.where(np.isnan(t), np.nan, 0.0)
    small = np.abs(t) >= special.stdtrit(k - 1, 1 - largest / 2)
    found[small] = rates.log10_p(t[small], k - 1)
    return found


def checked_features(n_features: int) -> Int64[Tensor, "checked"]:
    """Rows that are looked at: all, or `FEATURES` evenly spaced ones."""
    return torch.linspace(0, n_features - 1, min(n_features, FEATURES)).round().long()


@dataclass(frozen=True, eq=False)
class _Layer:
    """The rows that are looked at, whitened and of length 1, and their nulls; tokens: W_U's centred columns;
    cut, level: as `null_tests` takes them.
    """

    white: Float64[Tensor, "features k"]
    covariance: LayerCovariance
    nulls: NullDirections
    own: RowNulls
    tokens: CentredTokens
    cut: float
    level: float

    def cosines(
        self,
        deltas: Float32[Tensor, "d_model n_sets"],
        turn: Float64[Tensor, "d_model d_model"] | None = None,
    ) -> Float64[Tensor, "features n_sets"]:
        """Of the rows and the deltas turned by `turn`."""
        covariance = self.covariance if turn is None else turned(self.covariance, turn)
        return (self.white.float() @ row_nulls.coloured(deltas, covariance)).double()

    def log10_p(
        self, cosines: Float64[Tensor, "features n_sets"], sizes: Int64[Tensor, "n_sets"], *, whole: bool
    ) -> Float64[Tensor, "features n_sets"]:
        """Resolved throughout where `whole`, or where even p outside the tails counts as significant."""
        resolve = self.own.log10_p if whole or self.cut > LOG10_TAIL else self.own.tail_log10_p
        return resolve(cosines, sizes, len(self.tokens))

    def tests(
        self,
        name: tuple[str, int | None, int],
        cosines: Float64[Tensor, "features n_sets"],
        log10_p: Float64[Tensor, "features n_sets"],
        z: Float64[Tensor, "features n_sets"] | None = None,
    ) -> NullTests:
        """name: kind, tokens, repetition."""
        kind, tokens, repetition = name
        t, p = (
            values.float().cpu().numpy()
            for values in (row_nulls.student(cosines, self.covariance.k), log10_p)
        )
        single = None if z is None else z.float().cpu().numpy()
        return NullTests(kind, tokens, repetition, t, p, single, self.covariance.k)


def null_tests(
    W_dec: Tensor,
    W_U: Tensor,
    sets: Tensor,
    *,
    nulls: NullDirections,
    repetitions: int,
    seed: int,
    level: float,
    cut: float,
) -> Iterator[NullTests]:
    """Tests of `checked_features` of W_dec [features, d_model], kind after kind.

    W_U [d_model, n_tokens], sets, bool [n_sets, n_tokens], all tested, and nulls: as
    `fsrl.enrichment.statistics.set_statistics` takes them; what it raises is raised here. level: what will be
    asked of `NullTests.discoveries`; cut: p up to this log10 is resolved too (NaN: none).
    """
    enrichment.check_arguments(W_dec, W_U, sets)
    generator = torch.Generator().manual_seed(seed)
    where = devices.for_float64(W_U)
    W_dec, W_U, sets = W_dec.detach().to(where), W_U.detach().to(where), sets.to(where)
    covariance = layer_covariance(W_dec)
    rows = W_dec[checked_features(len(W_dec)).to(where)].double()
    white = rows @ covariance.whiten
    white = white / white.norm(dim=1, keepdim=True)
    own = RowNulls.of(white, nulls.of_layer(covariance))
    layer = _Layer(white, covariance, nulls, own, CentredTokens.of(W_U), cut, level)
    yield from _shuffled(layer, rows, sets, repetitions, generator)
    yield from _random(layer, min(len(sets), RANDOM_SETS), repetitions, generator)
    yield from _turned(layer, rows, sets, repetitions, generator)


def _deltas(
    tokens: CentredTokens, sets: Bool[Tensor, "n_sets n_tokens"]
) -> Float32[Tensor, "d_model n_sets"]:
    found = torch.zeros(len(tokens.W_U), len(sets), device=sets.device)
    for tile, part in tokens.tiles():
        found += part @ sets[:, tile].T.float()
    return found / sets.sum(dim=1)


def _shuffled(
    layer: _Layer,
    rows: Float64[Tensor, "features d_model"],
    sets: Bool[Tensor, "n_sets n_tokens"],
    repetitions: int,
    generator: torch.Generator,
) -> Iterator[NullTests]:
    sizes = sets.sum(dim=1)
    for repetition in range(repetitions):
        order = torch.randperm(sets.shape[1], generator=generator).to(sets.device)
        deltas = _deltas(layer.tokens, sets[:, order])
        cosines = layer.cosines(deltas)
        p = layer.log10_p(cosines, sizes, whole=repetition == 0)
        z = textbook_z(rows, deltas, sizes, layer.tokens) if repetition == 0 else None
        yield layer.tests(("shuffled", None, repetition), cosines, p, z)


def _random(layer: _Layer, count: int, repetitions: int, generator: torch.Generator) -> Iterator[NullTests]:
    for size in [size for size in SIZES if 2 * size <= len(layer.tokens)]:
        for repetition in range(repetitions):
            deltas = row_nulls.random_deltas(layer.tokens, size, count, generator)
            cosines = layer.cosines(deltas)
            sizes = torch.full((count,), size, device=deltas.device)
            p = layer.log10_p(cosines, sizes, whole=False)
            yield layer.tests(("random", size, repetition), cosines, p)


def _turned(
    layer: _Layer,
    rows: Float64[Tensor, "features d_model"],
    sets: Bool[Tensor, "n_sets n_tokens"],
    repetitions: int,
    generator: torch.Generator,
) -> Iterator[NullTests]:
    """Rows d Q have the second moment Q^T C Q and the same C^-1/2 d: their cosines are those of Q delta.

    p against turned directions is no larger than p, so that what it calls holds all that p calls: p against
    random sets, whose nulls Q changes, is fitted for these alone.
    """
    sizes, deltas = sets.sum(dim=1), _deltas(layer.tokens, sets)
    against_turned = layer.own.turned
    for repetition in range(repetitions):
        turn = rotation(deltas.shape[0], generator, deltas.device)
        cosines = layer.cosines(deltas, turn)
        p = against_turned.log10_p(cosines)
        called = rates.discoveries(p.cpu().numpy(), layer.level)
        bound = math.log10(max(called, 1) * layer.level / p.numel())
        row, column = (p <= np.nanmax([bound, layer.cut])).nonzero(as_tuple=True)
        if len(row):
            some, place = row.unique(return_inverse=True)
            covariance = turned(layer.covariance, turn)
            random = {size: row_nulls.coloured(own, covariance) for size, own in layer.nulls.random.items()}
            null = row_nulls.of_random_sets(layer.white[some], random)
            found = cosines[row, column], sizes[column], len(layer.tokens)
            against_random = row_nulls.random_tail_log10_p(null, place, *found)
            p[row, column] = torch.maximum(p[row, column], against_random)
        z = textbook_z(rows @ turn, deltas, sizes, layer.tokens) if repetition == 0 else None
        yield layer.tests(("turned", None, repetition), cosines, p, z)


def turned(covariance: LayerCovariance, turn: Float64[Tensor, "d_model d_model"]) -> LayerCovariance:
    """With the root of C that colours deltas as the layer's colours deltas turned by `turn`."""
    return replace(covariance, colour=turn.T @ covariance.colour)


def textbook_z(
    rows: Float64[Tensor, "features d_model"],
    deltas: Float32[Tensor, "d_model n_sets"],
    sizes: Int64[Tensor, "n_sets"],
    tokens: CentredTokens,
) -> Float64[Tensor, "features n_sets"]:
    """z of `fsrl.enrichment.statistics`, from the deltas and the centred columns of W_U."""
    n_tokens = len(tokens)
    gram = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for _, part in tokens.tiles():
        gram += part @ part.T
    gram /= n_tokens
    std = ((rows @ gram) * rows).sum(dim=1, keepdim=True).sqrt()
    return rows @ deltas.double() / std * (sizes * (n_tokens - 1) / (n_tokens - sizes)).sqrt()


def rotation(
    d_model: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Float64[Tensor, "d_model d_model"]:
    """A rotation (or a reflection) on the device, each as likely as any other; drawn on the generator's."""
    normal = torch.randn(d_model, d_model, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal.to(device))
    return q * r.diagonal().sign()


def textbook_log10_p(z: Float32[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
    """log10 of the two-sided p of z beside a standard normal, as textbooks have it."""
    # log_ndtr does not underflow where 2 Phi(-|z|) does.
    return (np.log(2) + special.log_ndtr(-np.abs(z.astype(np.float64)))) / math.log(10)
