"""Matrices that carry directions from their hook to the end of the residual stream, and views through them.

With x_l the stream at hook l and x_end that before the final norm, both at one position t of a text,

    T_l = mean over sites of N ∂x_end,t/∂x_l,t          N = s ∂norm(x_end)/∂x_end, s the norm's scale there

and N = P - x̂ x̂ᵀ/d, P = I - 11ᵀ/d, x̂ = P x_end / s for a LayerNorm (`fsrl.transport.fit` measures it). A
row d of W_dec becomes T_l d, and the logit weights W_dec T_lᵀ W_U (folded) keep their unit: divided by s they
are the mean change of the logits by a small step, the later blocks and the final norm in it. Null directions
lie in the stream at the hook and are carried by the same T_l. As W_dec T_lᵀ W_U is one product, a view with
`transport: same_position` reads T_lᵀ W_U for W_U and changes nothing else: rows keep their norms.

Example: with T_l = 1, at a last hook without a final norm, the view is the same without transport.

After the Jacobian lens (Gurnee et al., Transformer Circuits 2026), which sums over all later positions and
leaves the final norm out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.weights import columns, files, matrices
from fsrl.weights.matrices import Decoder, Unembedding, View, check_finite

KIND, SAME_POSITION = "transport", "same_position"
# What a carried W_U says of the matrices in its metadata.
SAID = ("sites", "seed", "text_sha256", "method", "split_half_error")


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


def carried(unembedding: Unembedding, transport: Transport, hook: str) -> Unembedding:
    """W_U as directions at a hook reach it: T_lᵀ W_U for W_U, folded and raw; its metadata says so.

    As W_dec T_lᵀ W_U is one product, directions stay where they are, with their norms, and null directions
    are drawn there. Raises FsrlError for a T of another model and for a hook that has none.
    """
    known, own = transport.metadata.get("model_sha256"), unembedding.metadata.get("model_sha256")
    d_model = len(unembedding.folded)
    if transport.T.shape[1] != d_model or (known and own and known != own):
        raise FsrlError(
            f"transport: it was measured in {transport.metadata.get('model', 'another model')}, not in "
            f"{unembedding.metadata.get('model', 'this one')} (d_model {transport.T.shape[1]}, {d_model}); "
            "build it again"
        )
    back = transport.at(hook).T.to(unembedding.folded)
    said = {name: transport.metadata[name] for name in SAID if name in transport.metadata}
    return replace(
        unembedding,
        folded=columns.through(back, unembedding.folded),
        raw=columns.through(back, unembedding.raw),
        metadata=unembedding.metadata | {f"transport_{name}": value for name, value in said.items()},
    )


def groups(
    unembedding: Unembedding,
    hook: str,
    views: Mapping[str, Mapping[str, Any]],
    transport: Transport | None,
) -> Iterator[tuple[Unembedding, dict[str, dict[str, Any]]]]:
    """The views by what they read, with their settings but `transport`: W_U itself, then the carried one.

    Either is left out where no view reads it. Raises FsrlError for a view with transport where there is none
    (the study's file was not built), and for another one than `same_position`.
    """
    plain = {name: dict(view) for name, view in views.items() if not is_carried(view)}
    if plain:
        yield unembedding, {name: others(view) for name, view in plain.items()}
    if moved := {name: others(view) for name, view in views.items() if name not in plain}:
        if transport is None:
            raise FsrlError(
                f"view {next(iter(moved))}: it needs the matrices of transport, and there are none; build "
                "the study's transport.safetensors first"
            )
        yield carried(unembedding, transport, hook), moved


def view(
    decoder: Decoder, unembedding: Unembedding, settings: Mapping[str, Any], transport: Transport | None
) -> View:
    """`fsrl.weights.matrices.view` of settings that may have transport; errors of `groups` too."""
    ((seen, views),) = groups(unembedding, decoder.hook, {"": settings}, transport)
    return matrices.view(decoder, seen, **views[""])


def is_carried(view: Mapping[str, Any]) -> bool:
    """Whether a view's settings ask for transport; FsrlError for another word than there is."""
    wanted = view.get("transport")
    if wanted not in (None, SAME_POSITION):
        raise FsrlError(f"view: transport is {wanted!r}; choose {SAME_POSITION}, or leave it out")
    return wanted is not None


def others(view: Mapping[str, Any]) -> dict[str, Any]:
    """A view's settings but transport."""
    return {name: value for name, value in view.items() if name != "transport"}


def write(transport: Transport, path: str | Path) -> None:
    """Write a safetensors file, whole or not at all; the same content gives the same bytes."""
    header = {"hooks": transport.hooks, "metadata": transport.metadata}
    files.save(path, KIND, {"T": transport.T}, header)


@files.named
def read(path: str | Path, device: str | torch.device = "cpu") -> Transport:
    """Read what `write` wrote; FsrlError where the file is missing, broken or something else."""
    tensors, header = files.load(path, KIND)
    return Transport(tensors["T"].to(device), tuple(header["hooks"]), header["metadata"])
