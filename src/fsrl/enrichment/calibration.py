"""p-values where there is nothing to find: t and the textbook z on directions drawn like a layer's rows."""

import numpy as np
import torch
from jaxtyping import Float64
from scipy import special
from torch import Tensor

from fsrl import devices
from fsrl.enrichment import covariance as enrichment_covariance
from fsrl.enrichment import statistics as enrichment


def null_log10_p(
    W_dec: Tensor, W_U: Tensor, sets: Tensor, *, draws: int, seed: int
) -> dict[str, Float64[np.ndarray, "draws n_sets"]]:
    """log10 of two-sided p under directions from N(0, C), by test ("t", "z").

    W_dec [features, d_model], W_U [d_model, n_tokens] and sets, bool [n_sets, n_tokens]: as
    `fsrl.enrichment.statistics.set_statistics` takes them; what it raises is raised here. C is that of the
    rows of W_dec (`fsrl.enrichment.covariance`). z is compared with a standard normal, as textbooks do.
    """
    covariance = enrichment_covariance.layer_covariance(W_dec.to(devices.for_float64(W_U)))
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(draws, covariance.k, generator=generator, dtype=torch.float64)
    directions = normal.to(covariance.colour) @ covariance.colour.T
    found = enrichment.set_statistics(directions, W_U, sets, covariance=covariance)
    z = found.z.double().abs().numpy()
    # log_ndtr does not underflow where 2 Phi(-|z|) does.
    textbook = (np.log(2) + special.log_ndtr(-z)) / np.log(10)
    return {"t": found.log10_p.double().numpy(), "z": textbook}
