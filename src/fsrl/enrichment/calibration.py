"""Does the test of token sets keep its level? p of a layer's real rows where there is nothing to find.

Three kinds of nothing, `repetitions` of each:

    shuffled   the view's sets, the vocabulary's tokens shuffled: as many sets of the same sizes and overlaps
    random     random sets of as many tokens as `SIZES` says, at most `RANDOM_SETS` of each
    turned     the view's sets beside the layer's rows, all of them turned in the residual stream by one
               random rotation

Everything called significant here is false, so that a test that keeps its false discovery rate at `level`
calls anything in at most that share of repetitions.
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
from fsrl.enrichment.row_nulls import NullDirections, RowNull
from fsrl.stats import rates

SIZES = (5, 10, 30, 100, 1000)
RANDOM_SETS = 20
# Rows of a layer, evenly spaced, that are looked at.
FEATURES = 2000
# Turned rows whose p against turned directions is nowhere below this keep that p: it is the lower one, and
# fitting the other nulls to every row anew would take long.
SCREEN = -4.0


@dataclass(frozen=True, eq=False)
class NullTests:
    """One repetition of one kind. tokens: of each random set, else None; k: rank of C; z: None for turned."""

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


def null_tests(
    W_dec: Tensor, W_U: Tensor, sets: Tensor, *, nulls: NullDirections, repetitions: int, seed: int
) -> Iterator[NullTests]:
    """Tests of `checked_features` of W_dec [features, d_model], kind after kind.

    W_U [d_model, n_tokens], sets, bool [n_sets, n_tokens], all tested, and nulls: as
    `fsrl.enrichment.statistics.set_statistics` takes them; what it raises is raised here.
    """
    generator = torch.Generator().manual_seed(seed)
    where = devices.for_float64(W_U)
    W_dec, W_U = W_dec.detach().to(where), W_U.detach().to(where)
    covariance = layer_covariance(W_dec)
    rows = W_dec[checked_features(len(W_dec)).to(where)]
    kinds: list[tuple[str, int | None, list[Tensor]]] = [("shuffled", None, [])]
    kinds += [("random", size, []) for size in SIZES if 2 * size <= sets.shape[1]]
    for _, size, made in kinds:
        for _ in range(repetitions):
            made.append(
                sets[:, torch.randperm(sets.shape[1], generator=generator)]
                if size is None
                else _random_sets(size, min(len(sets), RANDOM_SETS), sets.shape[1], generator)
            )
    # One call for all: a row's nulls are fitted once.
    every = torch.cat([own for *_, made in kinds for own in made])
    found = enrichment.set_statistics(rows, W_U, every, covariance=covariance, nulls=nulls)
    start = 0
    for kind, size, made in kinds:
        for repetition, own in enumerate(made):
            part = slice(start, start + len(own))
            t, p, z = (values[:, part].numpy() for values in (found.t, found.log10_p, found.z))
            yield NullTests(kind, size, repetition, t, p, z, covariance.k)
            start += len(own)
    yield from _turned(rows, W_U, sets, covariance, nulls, repetitions, generator)


def _random_sets(
    size: int, count: int, n_tokens: int, generator: torch.Generator
) -> Bool[Tensor, "count n_tokens"]:
    found = torch.zeros(count, n_tokens, dtype=torch.bool)
    for row in found:
        row[torch.randperm(n_tokens, generator=generator)[:size]] = True
    return found


def _turned(
    rows: Float[Tensor, "features d_model"],
    W_U: Float[Tensor, "d_model n_tokens"],
    sets: Bool[Tensor, "n_sets n_tokens"],
    covariance: LayerCovariance,
    nulls: NullDirections,
    repetitions: int,
    generator: torch.Generator,
) -> Iterator[NullTests]:
    """Rows d Q have the second moment Q^T C Q and the same C^-1/2 d: their cosines are those of Q delta."""
    white = rows.double() @ covariance.whiten
    white = white / white.norm(dim=1, keepdim=True)
    sizes, n_tokens = sets.sum(dim=1), sets.shape[1]
    columns = W_U.double()
    deltas = (columns - columns.mean(dim=1, keepdim=True)) @ sets.to(W_U.device).T.double()
    deltas = deltas / sizes.to(W_U.device)
    from_turned = RowNull.of(white, row_nulls.coloured(nulls.turned, covariance))
    for repetition in range(repetitions):
        turn = rotation(len(W_U), generator).to(W_U.device)
        # colour^T (Q delta) for every delta, in one product.
        of_turned = replace(covariance, colour=turn.T @ covariance.colour)
        cosines = white @ enrichment.unit_coloured(deltas, of_turned)
        p = from_turned.log10_p(cosines)
        low = (p <= SCREEN).any(dim=1).nonzero()[:, 0]
        if len(low):
            random = {size: row_nulls.coloured(own, of_turned) for size, own in nulls.random.items()}
            against = row_nulls.random_log10_p(white[low], cosines[low], sizes, n_tokens, random)
            p[low] = torch.maximum(p[low], against)
        t = row_nulls.student(cosines, covariance.k)
        both = [values.float().cpu().numpy() for values in (t, p)]
        yield NullTests("turned", None, repetition, *both, None, covariance.k)


def rotation(d_model: int, generator: torch.Generator) -> Float64[Tensor, "d_model d_model"]:
    """A rotation (or a reflection), each as likely as any other."""
    normal = torch.randn(d_model, d_model, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    return q * r.diagonal().sign()


def textbook_log10_p(z: Float32[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
    """log10 of the two-sided p of z beside a standard normal, as textbooks have it."""
    # log_ndtr does not underflow where 2 Phi(-|z|) does.
    return (np.log(2) + special.log_ndtr(-np.abs(z.astype(np.float64)))) / math.log(10)
