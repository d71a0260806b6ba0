"""The definitions of the moments, and what follows from them: the slow twin that the engine is tested
against."""

import torch
from jaxtyping import Float64
from torch import Tensor


def row_moments(logits: Float64[Tensor, "rows d_vocab"]) -> Float64[Tensor, "rows 4"]:
    """Mean, std, skewness and kurtosis (columns) of each row of logit weights; a constant row has NaN for
    its shape. Population moments, kurtosis not excess (`fsrl.moments.engine` has the formulas).
    """
    std, mean = torch.std_mean(logits, dim=1, correction=0, keepdim=True)
    z = (logits - mean) / std
    return torch.cat([mean, std, z.pow(3).mean(1, True), z.pow(4).mean(1, True)], dim=1)


def implied_tokens(
    skewness: Float64[Tensor, "*shape"], kurtosis: Float64[Tensor, "*shape"], d_vocab: int, kappa0: float
) -> Float64[Tensor, "*shape"]:
    """How many equally raised tokens on a Gaussian bulk would give this skewness and kurtosis.

    A share p of the vocabulary raised by h standard deviations has skewness ~ p h^3 and kurtosis ~
    kappa0 + p h^4, so p = skewness^4 / (kurtosis - kappa0)^3. kappa0 is the median kurtosis of random
    directions. NaN where skewness <= 0 or kurtosis <= kappa0.
    """
    excess = kurtosis - kappa0
    tokens = d_vocab * skewness.pow(4) / excess.pow(3)
    return tokens.masked_fill(~((skewness > 0) & (excess > 0)), torch.nan)


HISTOGRAM_HALF_WIDTH = 8.0  # in standard deviations
