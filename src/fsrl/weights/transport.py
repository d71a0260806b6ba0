"""Matrices that carry directions from their hook to the end of the residual stream, and what they carry.

With x_l the stream at hook l and x_end that before the final norm, both at one position t of a text,

    T_l = mean over sites of N ∂x_end,t/∂x_l,t          N = s ∂norm(x_end)/∂x_end, s the norm's scale there

and N = P - x̂ x̂ᵀ/d, P = I - 11ᵀ/d, x̂ = P x_end / s for a LayerNorm (`fsrl.transport.fit` measures it). A
row d of W_dec becomes T_l d, so W_dec becomes W_dec T_lᵀ, and its logit weights W_dec T_lᵀ W_U (folded) keep
their unit: divided by s they are the mean change of the logits by a small step, the later blocks and the
final norm in it. Null directions lie in the stream at the hook and are carried by the same T_l.

After the Jacobian lens (Gurnee et al., Transformer Circuits 2026), which sums over all later positions and
leaves the final norm out.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.weights import files
from fsrl.weights.matrices import check_finite

KIND = "transport"


@dataclass(frozen=True, eq=False)
class Transport:
    """T [hooks, d_model, d_model] in the order of `hooks`. Refuses another shape, NaN and infinities.

    metadata: sites, seed, hashes of text and model, and split_half_error, JSON of a number by hook: the
    standard error of T by the difference of two halves of the text, ‖T_1 - T_2‖ / (2 ‖T‖).
    """

    T: Float32[Tensor, "hooks d_model d_model"]
    hooks: tuple[str, ...]
    metadata: dict[str, str]

    def __post_init__(self) -> None:
        if self.T.dim() != 3 or self.T.shape[1] != self.T.shape[2] or len(self.T) != len(self.hooks):
            raise FsrlError(
                f"transport: T is {list(self.T.shape)} for {len(self.hooks)} hooks; it must be "
                "[hooks, d_model, d_model]"
            )
        check_finite("transport", self.T)

    def at(self, hook: str) -> Float32[Tensor, "d_model d_model"]:
        """The matrix of a hook; FsrlError for one that it was not measured at."""
        if hook not in self.hooks:
            raise FsrlError(
                f"transport: no matrix of {hook} (there are: {', '.join(self.hooks)}); build it again"
            )
        return self.T[self.hooks.index(hook)]


def carried(
    rows: Float[Tensor, "rows d_model"], T: Float32[Tensor, "d_end d_end"]
) -> Float[Tensor, "rows d_end"]:
    """What directions at a hook become at the end of the stream, in the rows' dtype: rows Tᵀ.

    Raises FsrlError for rows of another width.
    """
    if rows.shape[1] != len(T):
        raise FsrlError(
            f"transport: rows have d_model {rows.shape[1]} but T has {len(T)}; it is another model's"
        )
    return rows @ T.T.to(rows)


def write(transport: Transport, path: str | Path) -> None:
    """Write a safetensors file, whole or not at all; the same content gives the same bytes."""
    header = {"hooks": transport.hooks, "metadata": transport.metadata}
    files.save(path, KIND, {"T": transport.T}, header)


@files.named
def read(path: str | Path, device: str | torch.device = "cpu") -> Transport:
    """Read what `write` wrote; FsrlError where the file is missing, broken or something else."""
    tensors, header = files.load(path, KIND)
    return Transport(tensors["T"].to(device), tuple(header["hooks"]), header["metadata"])
