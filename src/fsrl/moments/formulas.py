"""The definitions of the moments, and what follows from them: the slow twin that the engine is tested
against.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

HISTOGRAM_HALF_WIDTH = 8.0  # in standard deviations


@dataclass(frozen=True)
class Typical:
    """What isotropic directions typically have: medians of kurtosis, of its right part, and of the mean of
    max(z, 0)^8. A direction is as likely as its negative, so those of one side are medians over both.
    """

    kurtosis: float
    right_kurtosis: float
    right_eighth: float


def row_moments(logits: Float64[Tensor, "rows d_vocab"]) -> Float64[Tensor, "rows 7"]:
    """Mean, std, skewness, kurtosis, right_kurtosis, right_eighth and left_eighth (columns) of each row of
    logit weights; a constant row has NaN for its shape. Population moments, kurtosis not excess
    (`fsrl.moments.engine` has the formulas).
    """
    std, mean = torch.std_mean(logits, dim=1, correction=0, keepdim=True)
    z = (logits - mean) / std
    right, left = z.clamp(min=0), (-z).clamp(min=0)
    powers = [z.pow(3), z.pow(4), right.pow(4), right.pow(8), left.pow(8)]
    return torch.cat([mean, std, *(power.mean(1, True) for power in powers)], dim=1)


def tail_tokens(
    fourth: Float64[Tensor, "*shape"],
    eighth: Float64[Tensor, "*shape"],
    d_vocab: int,
    fourth0: float,
    eighth0: float,
) -> Float64[Tensor, "*shape"]:
    """How many tokens make one side's tail: V (R - R0)^2 / (E - E0).

    fourth, eighth: R and E, the means over the V = d_vocab tokens of max(z, 0)^4 and max(z, 0)^8 (of
    max(-z, 0) for the left side); fourth0, eighth0: what is typical. If m tokens at one height h make all
    that R and E have above that, R - R0 = m h^4 / V and E - E0 = m h^8 / V, and m comes out; at unequal
    heights it is the participation ratio of their fourth powers, at most their number. Infinite where a
    difference is not above 0 (there is no tail); NaN where R or E is.
    """
    rise, eighth_rise = fourth - fourth0, eighth - eighth0
    tokens = d_vocab * rise.square() / eighth_rise
    return tokens.masked_fill((rise <= 0) | (eighth_rise <= 0), torch.inf)


def right_share(
    right_kurtosis: Float64[Tensor, "*shape"], kurtosis: Float64[Tensor, "*shape"], typical: Typical
) -> Float64[Tensor, "*shape"]:
    """Which share of the kurtosis above what is typical comes from tokens above the mean.

    Below 0 or above 1 where one side has less than is typical. NaN where kurtosis is not above it.
    """
    excess = kurtosis - typical.kurtosis
    share = (right_kurtosis - typical.right_kurtosis) / excess
    return share.masked_fill(~(excess > 0), torch.nan)
