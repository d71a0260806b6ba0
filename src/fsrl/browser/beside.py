"""What lies beside a layer's features: nearest directions, and the spread of null ones' logit weights.

Cosines are between rows of decoders, which all lie in the residual stream, so that rows of two layers compare
as they are. For n layers of m features in d dimensions they take n² m² d multiplications: a second in `mini`,
85 of 10^12 for GPT-2 small's 13 x 24,576, minutes on a CPU.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32
from torch import Tensor

from fsrl import devices
from fsrl.moments import engine
from fsrl.names import BOUNDING, SHARED
from fsrl.nulls import directions
from fsrl.weights import nearest
from fsrl.weights.matrices import View, unit_rows

NEAREST = 8  # of a feature's own layer
DRAWS = 500  # null directions of each kind: at 8,192 tokens and more a bin's share is known to a per cent


def neighbours(
    decoders: Sequence[Float32[Tensor, "_ d_model"]], saes: Sequence[str], *, device: str = "cpu"
) -> list[pd.DataFrame]:
    """The table `neighbours` of each SAE: the nearest features of its own, then the nearest of every other.

    decoders: W_dec of each; saes: their ids; device: auto, cpu or cuda. A feature is not its own neighbour; a
    row of zeros has a cosine of null with everything.
    """
    where = devices.pick(device)
    units = [unit_rows(W_dec).to(where) for W_dec in decoders]
    best: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    for i, rows in enumerate(units):
        best[i, i] = _nearest_of_own(rows)
        for j in range(i + 1, len(units)):
            for pair, found in zip(((i, j), (j, i)), nearest.nearest_of_both(rows, units[j]), strict=True):
                best[pair] = _in_memory(*(of_each[:, None] for of_each in found))
    zero = [(rows.norm(dim=1) == 0).cpu().numpy() for rows in units]
    return [_frame(i, best, zero, saes) for i in range(len(units))]


Nearest = tuple[np.ndarray, np.ndarray]  # neighbour and cosine, [features, ranks]


def _nearest_of_own(rows: Float32[Tensor, "m d_model"]) -> Nearest:
    ids, cosines = [], []
    for start in range(0, len(rows), nearest.ROWS):
        product = rows[start : start + nearest.ROWS] @ rows.T
        here = torch.arange(len(product), device=rows.device)
        product[here, here + start] = -torch.inf
        found = product.topk(min(NEAREST, len(rows) - 1), dim=1)
        ids.append(found.indices)
        cosines.append(found.values)
    return _in_memory(torch.cat(ids), torch.cat(cosines))


def _in_memory(ids: Tensor, cosines: Tensor) -> Nearest:
    return ids.cpu().numpy(), cosines.cpu().numpy()


def _frame(
    i: int, best: dict[tuple[int, int], Nearest], zero: list[np.ndarray], saes: Sequence[str]
) -> pd.DataFrame:
    parts = []
    for j in (i, *(j for j in range(len(saes)) if j != i)):
        ids, cosines = best[i, j]
        undefined = zero[i][:, None] | zero[j][ids]
        n, ranks = ids.shape
        parts.append(
            pd.DataFrame(
                {
                    "feature": np.repeat(np.arange(n, dtype=np.int32), ranks),
                    "sae": saes[j],
                    "rank": np.tile(np.arange(ranks, dtype=np.int32), n),
                    "neighbour": ids.ravel().astype(np.int32),
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
