"""What chance gives: the moments of random directions, against which features are judged.

Kind `isotropic`: directions uniform on the unit sphere of the residual stream. Their logit weights are far
from Gaussian (W_U's columns are neither isotropic nor independent), so a cut-off on skewness or kurtosis
means something only beside these quantiles. State the Monte Carlo error with them: the 0.999 quantile of
kurtosis has an sd of .07 at 3,000 draws and .02 at 100,000.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fsrl import moments
from fsrl.errors import FsrlError
from fsrl.quantiles import quantile, quantile_error

__all__ = ["isotropic", "isotropic_directions", "quantile", "quantile_error"]

# Each block of draws has a generator of its own: draw i is the same however many draws are asked for.
# Changing this number changes every draw.
DRAWS_PER_BLOCK = 4096


def isotropic_directions(d_model: int, *, draws: int, seed: int) -> Tensor:
    """float32 [draws, d_model] directions of length 1; the first n of them are those that draws=n gives."""
    if draws < 1 or seed < 0:
        raise FsrlError(
            f"nulls: draws is {draws} and seed is {seed}; draws must be 1 or more, seed 0 or more"
        )
    directions = torch.empty(draws, d_model)
    for block, part in enumerate(directions.split(DRAWS_PER_BLOCK)):
        generator = np.random.default_rng([seed, block])
        normal = generator.standard_normal((len(part), d_model), dtype=np.float32)
        part.copy_(torch.from_numpy(normal))
    return directions.div_(directions.norm(dim=1, keepdim=True))


def isotropic(W_U: Tensor, *, draws: int, seed: int) -> pd.DataFrame:
    """The table `null` (see `fsrl.tables.NULL`) of isotropic directions under W_U [d_model, n_tokens].

    implied_tokens is taken against the draws' own median kurtosis. Raises FsrlError for draws < 1, a negative
    seed, or W_U that `fsrl.moments` refuses.
    """
    directions = isotropic_directions(W_U.shape[0], draws=draws, seed=seed)
    result = moments.logit_moments(directions, W_U, n_extremes=0, n_bins=0)
    kappa0 = result.kurtosis.nanquantile(0.5).item()
    implied = moments.implied_tokens(result.skewness, result.kurtosis, result.d_vocab, kappa0)
    return pd.DataFrame(
        {
            "kind": pd.Series(["isotropic"] * draws, dtype="str"),
            "draw": np.arange(draws, dtype=np.int32),
            "mean": result.mean.numpy(),
            "std": result.std.numpy(),
            "skewness": result.skewness.numpy(),
            "kurtosis": result.kurtosis.numpy(),
            "bimodality": result.bimodality.numpy(),
            "implied_tokens": implied.numpy(),
            "norm": result.norm.numpy(),
        }
    )
