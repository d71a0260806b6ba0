"""t and eta^2 of any rows and token sets, without p: for many null directions at once.

The definitions are those of `fsrl.enrichment.statistics`, whose p takes far longer than all of this.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from fsrl.enrichment.covariance import LayerCovariance
from fsrl.weights import columns

ROWS_PER_BLOCK = 4096
# A cosine of 1 to rounding is a finite t.
_LEAST_UNEXPLAINED = float(np.finfo(np.float64).eps)


def t_and_eta2(
    rows: Float[Tensor, "rows d_model"],
    W_U: Float[Tensor, "d_model n_tokens"],
    sets: Bool[Tensor, "n_sets n_tokens"],
    covariance: LayerCovariance,
) -> tuple[Float32[np.ndarray, "rows n_sets"], Float32[np.ndarray, "rows n_sets"]]:
    """t and eta^2 of rows that need not be the layer's: covariance is that of the layer's decoder.

    sets: of 1 token or more, and not all. The means over the tokens are float32, the rest float64. A row of
    zeros, and in eta^2 one with constant logit weights, is NaN.
    """
    centre, sizes = W_U.mean(dim=1, keepdim=True), sets.sum(dim=1).double()
    delta = torch.zeros(len(W_U), len(sets), dtype=torch.float64, device=W_U.device)
    gram = torch.zeros(len(W_U), len(W_U), dtype=torch.float64, device=W_U.device)
    for tile in columns.tiles(W_U):
        centred = W_U[:, tile] - centre
        delta += centred @ sets[:, tile].T.to(centred)
        gram += centred @ centred.T
    delta, gram = delta / sizes, gram / W_U.shape[1]
    scale = sizes / (W_U.shape[1] - sizes)
    coloured = covariance.colour.T @ delta
    coloured = coloured / coloured.norm(dim=0)
    t, eta2 = [], []
    for block in rows.double().split(ROWS_PER_BLOCK):
        variance = ((block @ gram) * block).sum(dim=1, keepdim=True)
        eta2.append((scale * (block @ delta).square() / variance).float())
        white = block @ covariance.whiten
        cosine = white @ coloured / white.norm(dim=1, keepdim=True)
        unexplained = (1 - cosine.square()).clamp(min=_LEAST_UNEXPLAINED)
        t.append((cosine * ((covariance.k - 1) / unexplained).sqrt()).float())
    return torch.cat(t).cpu().numpy(), torch.cat(eta2).cpu().numpy()
