"""The trainable part of an SAE adapter: from the residual activation to a steering vector over features.

    linear    s = W x + b                       W [d_sae, d_in], b [d_sae], both zero at the start
    LoRA      s = (alpha / rank) B (A x)        A [rank, d_in] random, B [d_sae, rank] zero at the start

LoRA (Hu et al. 2021, arXiv 2106.09685) here adapts nothing but zero, so no dense matrix is held. Both start
as exact no-ops, s = 0. Features f and steering vector are fused as

    additive          f + s
    multiplicative    f * (1 + s)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fsrl import arguments
from fsrl.errors import FsrlError, did_you_mean

FUSION_MODES = ("additive", "multiplicative")


@dataclass(frozen=True)
class AdapterSettings:
    """What an adapter is made of; refuses bad values by name.

    lora_rank and lora_alpha are read only with use_lora_adapter; use_error_term adds the SAE's reconstruction
    error back.
    """

    use_lora_adapter: bool = False
    lora_rank: int = 64
    lora_alpha: float = 32
    fusion_mode: str = "additive"
    use_error_term: bool = True

    def __post_init__(self) -> None:
        for name in ("use_lora_adapter", "use_error_term"):
            if not isinstance(getattr(self, name), bool):
                raise FsrlError(f"adapter: {name} is {getattr(self, name)!r}; choose True or False")
        rank, alpha = self.lora_rank, self.lora_alpha
        if isinstance(rank, bool) or not isinstance(rank, int) or rank <= 0:
            raise FsrlError(f"adapter: lora_rank is {rank!r}; give a whole number above 0")
        number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
        if not number or not math.isfinite(alpha) or alpha <= 0:
            raise FsrlError(f"adapter: lora_alpha is {alpha!r}; give a number above 0")
        if self.fusion_mode not in FUSION_MODES:
            hint = did_you_mean(self.fusion_mode, FUSION_MODES)
            raise FsrlError(
                f"adapter: fusion_mode is {self.fusion_mode!r}{hint}; choose {' or '.join(FUSION_MODES)}"
            )

    @classmethod
    def from_kwargs(cls, kwargs: Mapping[str, Any]) -> "AdapterSettings":
        """From keyword arguments; FsrlError for an unknown one, with the name that was probably meant."""
        arguments.known_names("adapter", kwargs, [field.name for field in fields(cls)])
        return cls(**kwargs)


class LinearAdapter(nn.Module):
    """s = W x + b, zero at the start."""

    def __init__(self, d_in: int, d_sae: int, *, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(d_sae, d_in, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(d_sae, device=device, dtype=dtype))

    def forward(self, x: Float[Tensor, "*any d_in"]) -> Float[Tensor, "*any d_sae"]:
        """s for an activation x."""
        return nn.functional.linear(x, self.weight, self.bias)


class LoRAAdapter(nn.Module):
    """s = (alpha / rank) B (A x), zero at the start since B is. A is drawn from torch's global generator."""

    def __init__(
        self, d_in: int, d_sae: int, *, rank: int, alpha: float, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.A = nn.Parameter(torch.empty(rank, d_in, device=device, dtype=dtype))
        self.B = nn.Parameter(torch.zeros(d_sae, rank, device=device, dtype=dtype))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Float[Tensor, "*any d_in"]) -> Float[Tensor, "*any d_sae"]:
        """s for an activation x."""
        return nn.functional.linear(nn.functional.linear(x, self.A) * self.scale, self.B)


def make_layer(
    settings: AdapterSettings, d_in: int, d_sae: int, *, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """The layer that the settings ask for."""
    if not settings.use_lora_adapter:
        return LinearAdapter(d_in, d_sae, device=device, dtype=dtype)
    rank, alpha = settings.lora_rank, settings.lora_alpha
    return LoRAAdapter(d_in, d_sae, rank=rank, alpha=alpha, device=device, dtype=dtype)


def fuse(
    features: Float[Tensor, "*any d_sae"], steering: Float[Tensor, "*any d_sae"], mode: str
) -> Float[Tensor, "*any d_sae"]:
    """Features after steering, in one of FUSION_MODES."""
    return features + steering if mode == "additive" else features * (1 + steering)
