"""What lies beside a layer's features: nearest directions, and the spread of null ones' logit weights.

Cosines are between rows of decoders, which all lie in the residual stream, so that rows of two layers compare
as they are. For n layers of m features in d dimensions they take n² m² d multiplications: a second in `mini`,
85 of 10^12 for GPT-2 small's 13 x 24,576, minutes on a CPU.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from fsrl import devices
from fsrl.moments import engine
from fsrl.names import BOUNDING, SHARED
from fsrl.nulls import directions
from fsrl.weights import nearest
from fsrl.weights.matrices import View, unit_rows

NEAREST = 8  # of a feature's own layer
# Rows of a decoder that are held as rows of length 1: 512 MiB at d_model 4,096, and all of GPT-2's in one.
PART = 32_768
DRAWS = 500  # null directions of each kind: at 8,192 tokens and more a bin's share is known to a per cent


def neighbours(
    decoders: Sequence[Float32[Tensor, "_ d_model"]], saes: Sequence[str], *, device: str = "cpu"
) -> Iterator[pd.DataFrame]:
    """The table `neighbours` of each SAE: the nearest features of its own, then the nearest of every other.

    decoders: W_dec of each, in their files where `weights.matrices` read them; saes: their ids; device: auto,
    cpu or cuda. A feature is not its own neighbour; a row of zeros has a cosine of null with everything. Rows
    of length 1 are held of two parts of `PART` rows at a time.
    """
    where = devices.pick(device)
    found = {
        (i, j): _Nearest.none(len(W_dec), min(NEAREST, len(W_dec) - 1) if i == j else 1)
        for i, W_dec in enumerate(decoders)
        for j in range(len(decoders))
    }
    zero = [(W_dec == 0).all(dim=1).cpu().numpy() for W_dec in decoders]
    for i, W_dec in enumerate(decoders):
        for here in _parts(W_dec):
            _compare(found, decoders, i, here, unit_rows(W_dec[here]).to(where))
    return (_frame(i, found, zero, saes) for i in range(len(decoders)))


@dataclass(frozen=True, eq=False)
class _Nearest:
    """The nearest rows that were found so far of each feature, nearest first."""

    ids: Int32[Tensor, "features ranks"]
    cosines: Float32[Tensor, "features ranks"]

    @classmethod
    def none(cls, features: int, ranks: int) -> "_Nearest":
        """Before anything was compared."""
        return cls(torch.zeros(features, ranks, dtype=torch.int32), torch.full((features, ranks), -torch.inf))

    def add(
        self,
        here: slice,
        there: slice,
        ids: Int64[Tensor, "rows new"],
        cosines: Float32[Tensor, "rows new"],
    ) -> None:
        """More of them, of the features `here` among the rows `there`; what was found earlier wins a tie."""
        both = torch.cat([self.cosines[here], cosines.cpu()], dim=1)
        numbers = torch.cat([self.ids[here], (ids + there.start).int().cpu()], dim=1)
        kept = both.argsort(dim=1, descending=True, stable=True)[:, : self.ids.shape[1]]
        self.cosines[here], self.ids[here] = both.gather(1, kept), numbers.gather(1, kept)


def _parts(W_dec: Float32[Tensor, "features d_model"]) -> Iterator[slice]:
    for start in range(0, len(W_dec), PART):
        yield slice(start, min(start + PART, len(W_dec)))


def _compare(
    found: Mapping[tuple[int, int], _Nearest],
    decoders: Sequence[Float32[Tensor, "_ d_model"]],
    i: int,
    here: slice,
    rows: Float32[Tensor, "rows d_model"],
) -> None:
    """One part of decoder i with all of it, and with all of each later one. rows: the part's, of length 1."""
    # No name for the others' rows: they are gone before the next ones are made.
    for there in _parts(decoders[i]):
        if there == here:
            _of_own(found[i, i], rows, here, rows, there)
        else:
            _of_own(found[i, i], rows, here, unit_rows(decoders[i][there]).to(rows.device), there)
    for j in range(i + 1, len(decoders)):
        for there in _parts(decoders[j]):
            forth, back = nearest.nearest_of_both(rows, unit_rows(decoders[j][there]).to(rows.device))
            found[i, j].add(here, there, *(of_each[:, None] for of_each in forth))
            found[j, i].add(there, here, *(of_each[:, None] for of_each in back))


def _of_own(
    found: _Nearest,
    rows: Float32[Tensor, "rows d_model"],
    here: slice,
    others: Float32[Tensor, "others d_model"],
    there: slice,
) -> None:
    """Two parts of one decoder, or a part with itself: a row is not its own neighbour."""
    for start in range(0, len(rows), nearest.ROWS):
        product = rows[start : start + nearest.ROWS] @ others.T
        if here == there:
            own = torch.arange(len(product), device=rows.device)
            product[own, own + start] = -torch.inf
        best = product.topk(min(found.ids.shape[1], len(others)), dim=1)
        place = slice(here.start + start, here.start + start + len(product))
        found.add(place, there, best.indices, best.values)


def _frame(
    i: int, found: Mapping[tuple[int, int], _Nearest], zero: Sequence[np.ndarray], saes: Sequence[str]
) -> pd.DataFrame:
    parts = []
    for j in (i, *(j for j in range(len(saes)) if j != i)):
        ids, cosines = found[i, j].ids.numpy(), found[i, j].cosines.numpy()
        undefined = zero[i][:, None] | zero[j][ids]
        n, ranks = ids.shape
        parts.append(
            pd.DataFrame(
                {
                    "feature": np.repeat(np.arange(n, dtype=np.int32), ranks),
                    "sae": saes[j],
                    "rank": np.tile(np.arange(ranks, dtype=np.int32), n),
                    "neighbour": ids.ravel(),
                    "cosine": np.where(undefined, np.nan, cosines).ravel().astype(np.float32),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def null_shapes(view: View, *, n_bins: int, seed: int, device: str = "cpu") -> pd.DataFrame:
    """The table `null_shapes` of a layer in a view: the spread of null directions' logit weights.

    Of the kinds that bound the types; each direction's weights are counted in bins of its own mean and std,
    as the table `histograms` has them. n_bins: of these; seed: of the draws; device: auto, cpu or cuda.
    """
    where = devices.pick(device)
    W_U = view.W_U.to(where)
    rows = []
    for kind in BOUNDING:
        blocks = (
            directions.isotropic(W_U.shape[0], draws=DRAWS, seed=seed)
            if kind == SHARED
            else directions.spectrum(view.W_dec.to(where), W_U, draws=DRAWS, seed=seed)
        )
        drawn = torch.cat([block.to(where) for block in blocks])
        found = engine.logit_moments(drawn, W_U, n_extremes=0, n_bins=n_bins)
        rows.append(
            {
                "kind": kind,
                "draws": len(drawn),
                "underflow": int(found.underflow.sum()),
                "counts": found.counts.sum(dim=0).cpu().numpy(),
                "overflow": int(found.overflow.sum()),
            }
        )
    return pd.DataFrame(rows)
