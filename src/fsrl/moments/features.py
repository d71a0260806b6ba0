"""What a moments pass finds of every feature under one reading, and the result that it comes to."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from fsrl.moments import sweep as moments_sweep
from fsrl.moments.formulas import HISTOGRAM_HALF_WIDTH
from fsrl.moments.plan import Shape
from fsrl.moments.readings import Lens, Piece
from fsrl.moments.sweep import State
from fsrl.moments.vocabulary import power_of_two

# Powers are taken of values whose std a power of two brings into [1/16, 1/8). That is exact, and in float32
# neither do the eighth powers of the bulk underflow nor those of the farthest token overflow: in units of the
# std it lies at sqrt(d_vocab) at most, so that of a million tokens its eighth power is below 2^56. Where no
# histogram is asked for the std is a guess (`Lens.spread`), too small by sqrt(d_model) at most: below 2^112
# of float32's 2^128 at a d_model of 16384. Only a row whose std is a thousandth of the guess or less, which
# the rounding of a float32 product blurs as well, loses digits of its eighth powers.
HEADROOM = 2.0**-3
LARGEST_UNIT = 2.0**100  # for rows that W_U hardly sees: finite in float32


@dataclass(frozen=True, eq=False)
class LogitMoments:
    """One row per feature, on the CPU; k = min(n_extremes, d_vocab).

    mean, std: in the unit of the logit weights, logit per unit of activation (none for cosines); skewness,
    kurtosis (not excess), its part from tokens above the mean (right_kurtosis), the means of max(z, 0)^8 and
    max(-z, 0)^8 (right_eighth, left_eighth), bimodality (Sarle's): NaN where a constant row has no shape;
    norm: of W_dec's row as it is read (1 for cosines);
    top_ids, bottom_ids: columns of W_U (of those that the reading keeps), most extreme first, ties to the
    lower column; top_weights, bottom_weights: their logit weights;
    underflow, overflow, counts: tokens below, above and in equal bins [low, high) between mean - 8 std and
    mean + 8 std (a constant row lies in the bin that starts at, or holds, the mean).
    Ids and weights are empty where n_extremes is 0; counts, where n_bins is 0. d_vocab: the number of tokens.
    """

    mean: Float64[Tensor, "d_sae"]
    std: Float64[Tensor, "d_sae"]
    skewness: Float64[Tensor, "d_sae"]
    kurtosis: Float64[Tensor, "d_sae"]
    right_kurtosis: Float64[Tensor, "d_sae"]
    right_eighth: Float64[Tensor, "d_sae"]
    left_eighth: Float64[Tensor, "d_sae"]
    bimodality: Float64[Tensor, "d_sae"]
    norm: Float64[Tensor, "d_sae"]
    top_ids: Int64[Tensor, "d_sae k"]
    top_weights: Float64[Tensor, "d_sae k"]
    bottom_ids: Int64[Tensor, "d_sae k"]
    bottom_weights: Float64[Tensor, "d_sae k"]
    underflow: Int64[Tensor, "d_sae"]
    counts: Int64[Tensor, "d_sae n_bins"]
    overflow: Int64[Tensor, "d_sae"]
    d_vocab: int

    @property
    def left_kurtosis(self) -> Float64[Tensor, "d_sae"]:
        """The kurtosis that comes from tokens below the mean; exact, since both parts are summed apart."""
        return self.kurtosis - self.right_kurtosis

    def of(self, features: Sequence[int]) -> "LogitMoments":
        """Some features' rows, in the given order."""
        columns = [field.name for field in fields(self) if field.name != "d_vocab"]
        return replace(self, **{name: getattr(self, name)[list(features)] for name in columns})


class Block(NamedTuple):
    """Some features' rows: their state, and what a reading subtracts before and after its factors."""

    state: State
    before: Float[Tensor, "rows"]
    after: Float[Tensor, "rows"]


class Features:
    """All that is known of the features of a pass under one reading; `shape` is the pass'."""

    def __init__(self, lens: Lens, shape: Shape, dtype: torch.dtype, device: torch.device) -> None:
        # What follows from the Gram matrix is measured before the product: it need not be kept.
        self.lens = replace(lens, gram=None)
        self.shape = replace(shape, d_vocab=lens.count)
        self.state = State.empty(self.shape, dtype, device)
        self.sweep = moments_sweep.sweep_for(device)
        self.read_and_sweep = moments_sweep.read_and_sweep_for(device)
        # float64 [n] each: mean, norm, factor back from scaled units, and the std that is rounding.
        self.mean, self.norm, self.unscale, self.noise = torch.empty(
            4, shape.n, dtype=torch.float64, device=device
        )
        self.before, self.after = torch.empty(2, shape.n, dtype=dtype, device=device)

    def measure(
        self,
        rows: slice,
        scaled: Float64[Tensor, "rows d_model"],
        scale: Float64[Tensor, "rows"],
        gram: Float64[Tensor, "d_model d_model"] | None,
        rounding: float,
    ) -> None:
        """All that has a closed form: mean, norm, and the std that the histogram's bins follow from.

        scaled: directions times their powers of two, which are `scale`; gram: the lens'; rounding: the
        product's (`fsrl.moments.products.rounding`).
        """
        lens, length = self.lens, scaled.norm(dim=1)
        # Cosines are those of the scaled direction as well; a row without direction has zeros.
        unit = torch.where(length > 0, length, 1.0) if lens.cosine else scale
        self.norm[rows] = length / unit
        self.mean[rows] = (scaled @ lens.mean) / unit
        self.unscale[rows] = 1.0 / (unit * lens.scale)
        self.noise[rows] = noise = lens.noise(scaled, rounding)
        self.before[rows] = (scaled @ lens.shift).to(self.before.dtype)
        self.after[rows] = (scaled @ lens.centre).to(self.after.dtype)
        std = lens.spread(scaled)
        if gram is not None:
            std = ((scaled @ gram) * scaled).sum(1).clamp(min=0).sqrt()
            density = self.shape.n_bins / (2 * HISTOGRAM_HALF_WIDTH * std)
            bins = self.state.bins_per_unit
            bins[rows] = density.masked_fill(std <= noise, 0.0).to(bins.dtype)
        units = power_of_two(std.maximum(noise)).clamp(max=LARGEST_UNIT) * HEADROOM
        self.state.units[rows] = units.to(self.state.units.dtype)

    def block(self, rows: slice) -> Block:
        """What `add` wants of some features."""
        return Block(self.state.block(rows), self.before[rows], self.after[rows])

    def add(
        self,
        product: Float[Tensor, "rows tile_tokens"],
        piece: Piece,
        block: Block,
        scratch: Float[Tensor, "size"] | None,
    ) -> None:
        """Add what the reading keeps of a tile; without scratch the tile as it is, overwritten."""
        if not piece.width:
            return
        if scratch is None:
            self.sweep(product, piece.width, piece.start, block.state)
        else:
            vectors = piece.factors, block.before, block.after
            self.read_and_sweep(product, piece.columns, vectors, piece.start, block.state, scratch)

    def result(self) -> LogitMoments:
        """What the tiles that were added come to, on the CPU."""
        state, unscale, mean = self.state, self.unscale.unsqueeze(1), self.mean.unsqueeze(1)
        central, units = (state.sums / self.shape.d_vocab).T, state.units.double()
        columns = _shape(central, self.noise * units, self.unscale / units) | {
            "mean": self.mean,
            "norm": self.norm,
            "top_ids": state.top_ids,
            "top_weights": state.top * unscale + mean,
            "bottom_ids": state.bottom_ids,
            "bottom_weights": -state.bottom * unscale + mean,
            "underflow": state.slots[:, 0].contiguous(),
            "counts": state.slots[:, 1:-1].contiguous(),
            "overflow": state.slots[:, -1].contiguous(),
        }
        return LogitMoments(
            **{name: column.cpu() for name, column in columns.items()}, d_vocab=self.shape.d_vocab
        )


def _shape(
    central: Float64[Tensor, "powers rows"], noise: Float64[Tensor, "rows"], unscale: Float64[Tensor, "rows"]
) -> dict[str, Float64[Tensor, "rows"]]:
    """std (unscaled) and shape from the means of `fsrl.moments.sweep.POWERS`; NaN where std is rounding."""
    variance, third, right, left, right_eighth, left_eighth = central
    std = variance.sqrt()
    constant = std <= noise
    shape = {
        "skewness": third / std.pow(3),
        "kurtosis": right / variance.pow(2) + left / variance.pow(2),
        "right_kurtosis": right / variance.pow(2),
        "right_eighth": right_eighth / variance.pow(4),
        "left_eighth": left_eighth / variance.pow(4),
    }
    shape["bimodality"] = (shape["skewness"].pow(2) + 1) / shape["kurtosis"]
    known = {name: column.masked_fill(constant, torch.nan) for name, column in shape.items()}
    return known | {"std": std.masked_fill(constant, 0.0) * unscale}
