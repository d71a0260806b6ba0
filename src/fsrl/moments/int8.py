"""Products of float matrices as products of 8-bit integers, whose sums are exact (after Ozaki et al. 2012).

Each row of one matrix and each column of the other is written as scale * (hi + lo / 254) with whole numbers
hi and lo from -127 to 127: 15 bits below the largest entry. Then hi hi + (hi lo + lo hi) / 254 costs three
integer products, lo lo (a part in 254^2 of the largest) is left out, and the only rounding to float32 is the
result's. With hi alone one product gives 7 bits.

Bits are spent on the largest entry, so one coordinate far above the rest, as some of a residual stream are,
would leave the others few: both matrices are first turned by the same random rotation, which changes no
product and gives every coordinate its share (as QuaRot does, Ashkboos et al. 2024).
"""

from functools import lru_cache

import torch
from torch import Tensor

from fsrl.moments import units

STEPS = 127
LOW_STEPS = 254


def prepare_rows(parts: int, scaled: Tensor) -> tuple[Tensor, ...]:
    """float64 [features, d_model] as `multiply` wants them; parts: 1 for hi alone, 2 for hi and lo."""
    hi, lo, scale = _whole(_rotated(scaled))
    if parts == 1:
        return scale, units.int8_rows(hi)
    return scale, units.int8_rows(hi), units.int8_rows(torch.cat([hi, lo], dim=1))


def prepare_columns(parts: int, centred: Tensor, features: int) -> tuple[Tensor, ...]:
    """float64 [d_model, tokens] as `multiply` wants them, for `features` rows at a time."""
    hi, lo, scale = _whole(_rotated(centred.T))
    high = (scale.squeeze(1), units.int8_pack(hi, features))
    if parts == 1:
        return high
    return *high, scale.squeeze(1) / LOW_STEPS, units.int8_pack(torch.cat([lo, hi], dim=1), features)


def multiply(rows: tuple[Tensor, ...], columns: tuple[Tensor, ...]) -> Tensor:
    """One tile of the product, float32 [features, tokens + 0 or PADDING]."""
    tile = units.int8_product(rows[1], columns[1], columns[0])
    if len(rows) > 2:
        tile = units.int8_product(rows[2], columns[3], columns[2], plus=tile)
    return tile.mul_(rows[0])


@lru_cache(maxsize=2)
def rotation(d_model: int) -> Tensor:
    """A random orthogonal matrix, float32 [d_model, d_model], the same at every call."""
    generator = torch.Generator().manual_seed(0)
    gaussian = torch.randn(d_model, d_model, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(gaussian).Q.float()


@lru_cache(maxsize=2)
def _packed_rotation(d_model: int, device: torch.device) -> Tensor:
    return units.pack(rotation(d_model).to(device), d_model)


def _rotated(matrix: Tensor) -> Tensor:
    """float64 [n, d_model] -> float32 [n, d_model]."""
    d_model = matrix.shape[1]
    turned = units.product(matrix.float().contiguous(), _packed_rotation(d_model, matrix.device))
    return turned[:, :d_model]


def _whole(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """matrix [n, depth] ~ scale (hi + lo / 254): hi and lo are whole numbers in float32; scale is [n, 1]."""
    peak = torch.maximum(matrix.amax(1, keepdim=True), -matrix.amin(1, keepdim=True))
    scale = peak.masked_fill(peak == 0, 1.0) / STEPS
    steps = matrix / scale
    hi = steps.round()
    return hi, steps.sub_(hi).mul_(LOW_STEPS).round_(), scale
