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
leaves the final norm out. A view with `transport: {lens: …}` reads the matrices of such a lens in T's place
(`fsrl.transport.lens` makes them, and of our own J, the mean of ∂x_end/∂x without N, such a lens).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.weights import columns, files, matrices
from fsrl.weights.matrices import Decoder, Unembedding, View, check_finite

KIND = "transport"
# What a view's `transport` may ask for: our own mean, or a lens, {"lens": where it is from, …}.
SAME_POSITION, LENS = "same_position", "lens"
# What a carried W_U says of the matrices in its metadata.
SAID = ("sites", "seed", "text_sha256", "method", "split_half_error", "position", "lens", "lens_sha256")


@dataclass(frozen=True, eq=False)
class Transport:
    """T [hooks, d_model, d_model] in the order of `hooks`. Refuses another shape, NaN and infinities.

    metadata: sites, seed, hashes of text and model, and split_half_error, JSON of a number by hook: the
    standard error of T by the difference of two halves of the text, ‖T_1 - T_2‖ / (2 ‖T‖). J: by block, from
    its output to the end, before the final norm; what lenses are written of, and no view reads it.
    """

    T: Float32[Tensor, "hooks d_model d_model"]
    hooks: tuple[str, ...]
    metadata: dict[str, str]
    J: Mapping[int, Float32[Tensor, "d_model d_model"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.T.dim() != 3 or self.T.shape[1] != self.T.shape[2] or len(self.T) != len(self.hooks):
            raise FsrlError(
                f"transport: T is {list(self.T.shape)} for {len(self.hooks)} hooks; it must be "
                "[hooks, d_model, d_model]"
            )
        check_finite("transport", self.T)
        for block, matrix in self.J.items():
            check_finite(f"transport, J of block {block}", matrix)

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
    transport: Transport | Mapping[str, Transport] | None,
) -> Iterator[tuple[Unembedding, dict[str, dict[str, Any]]]]:
    """The views by what they read, with their settings but `transport`: W_U itself, then what is carried.

    transport: of all views that have it, or by the view's name; views that share one are a group. Groups
    without a view are left out. Raises FsrlError for a view with transport where there is none (the study's
    file was not built), where it is of the other kind, and for another kind than there is.
    """
    plain = {name: dict(view) for name, view in views.items() if not is_carried(view)}
    if plain:
        yield unembedding, {name: others(view) for name, view in plain.items()}
    of_view = {name: _wanted(name, views[name], transport) for name in views if name not in plain}
    for moved in {id(one): one for one in of_view.values()}.values():
        own = {name: others(views[name]) for name, one in of_view.items() if one is moved}
        yield carried(unembedding, moved, hook), own


def _wanted(
    name: str, view: Mapping[str, Any], transport: Transport | Mapping[str, Transport] | None
) -> Transport:
    """The matrices of a view with transport."""
    found = transport.get(name) if isinstance(transport, Mapping) else transport
    if found is None:
        raise FsrlError(
            f"view {name}: it needs the matrices of transport, and there are none; build the study's "
            f"{'lenses' if is_lens(view) else 'transport.safetensors'} first"
        )
    check_kind(found, f"view {name}", view)
    return found


def check_kind(transport: Transport, who: str, view: Mapping[str, Any]) -> None:
    """Raise FsrlError for matrices of a lens where a view asks for our own, and the other way round."""
    if is_lens(view) != (LENS in transport.metadata):
        given = "those of a lens" if LENS in transport.metadata else "our own, at the same position"
        raise FsrlError(
            f"{who}: transport is {view['transport']!r}, and the matrices are {given}; give the others"
        )


def view(
    decoder: Decoder, unembedding: Unembedding, settings: Mapping[str, Any], transport: Transport | None
) -> View:
    """`fsrl.weights.matrices.view` of settings that may have transport; errors of `groups` too."""
    ((seen, views),) = groups(unembedding, decoder.hook, {"": settings}, transport)
    return matrices.view(decoder, seen, **views[""])


def is_carried(view: Mapping[str, Any]) -> bool:
    """Whether a view's settings ask for transport; FsrlError for another word than there is."""
    wanted = view.get("transport")
    if wanted not in (None, SAME_POSITION) and not is_lens(view):
        raise FsrlError(
            f"view: transport is {wanted!r}; choose {SAME_POSITION} or a lens ({{{LENS}: REPOSITORY}}), or "
            "leave it out"
        )
    return wanted is not None


def is_lens(view: Mapping[str, Any]) -> bool:
    """Whether a view's settings ask for a lens, wherever it is from."""
    wanted = view.get("transport")
    return wanted == LENS or (isinstance(wanted, Mapping) and LENS in wanted)


def others(view: Mapping[str, Any]) -> dict[str, Any]:
    """A view's settings but transport."""
    return {name: value for name, value in view.items() if name != "transport"}


def write(transport: Transport, path: str | Path) -> None:
    """Write a safetensors file, whole or not at all; the same content gives the same bytes."""
    header = {"hooks": transport.hooks, "metadata": transport.metadata}
    tensors = {f"J.{block}": matrix for block, matrix in transport.J.items()}
    files.save(path, KIND, {"T": transport.T} | tensors, header)


@files.named
def read(path: str | Path, device: str | torch.device = "cpu") -> Transport:
    """Read what `write` wrote; FsrlError where the file is missing, broken or something else."""
    tensors, header = files.load(path, KIND)
    J = {int(name.removeprefix("J.")): tensor for name, tensor in tensors.items() if name.startswith("J.")}
    return Transport(
        tensors["T"].to(device), tuple(header["hooks"]), header["metadata"], dict(sorted(J.items()))
    )


def read_of_views(
    views: Mapping[str, Mapping[str, Any]], paths: Sequence[str], device: str | torch.device = "cpu"
) -> dict[str, Transport]:
    """By view, of those with transport in their order, what `read` reads; a file that they share, once."""
    read_once = {path: read(path, device) for path in dict.fromkeys(paths)}
    names = [name for name, view in views.items() if is_carried(view)]
    return {name: read_once[path] for name, path in zip(names, paths, strict=True)}
