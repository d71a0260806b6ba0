"""TransformerLens' names of hooks: what they say of a place in the model, and how they are printed.

    blocks.{layer}.{point}      point: hook_resid_pre, attn.hook_z, mlp.hook_post, ...

Whatever reads a hook's name reads it here. Imports nothing heavy.
"""

import re
from dataclasses import dataclass

from fsrl.errors import FsrlError

_HOOK = re.compile(r"blocks\.(\d+)\.((?:\w+\.)*)(hook_\w+)")
# Points of the residual stream itself, and of what is added to it as it is.
STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post")
EMBEDDING = "hook_embed"  # in no block
WRITTEN = (*STREAM, "hook_attn_out", "hook_mlp_out", EMBEDDING)
# Points that a matrix of the block maps into the stream, by the matrix's name in TransformerLens.
MAPPED = {"hook_z": "W_O", "hook_post": "W_out"}
# Of these, what a block's attention writes.
ATTENTION = ("hook_z", "hook_attn_out")
# Within a block, in the order in which the model computes.
BY_DEPTH = (
    "hook_resid_pre",
    "hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "hook_post",
    "hook_mlp_out",
    "hook_resid_post",
)
# What a block does before directions of a point are added: nothing (0), its attention (1), or all of it (2).
_DONE_BEFORE = {
    "hook_resid_pre": 0,
    "hook_resid_mid": 1,
    "hook_attn_out": 1,
    "hook_z": 1,
    "hook_resid_post": 2,
    "hook_mlp_out": 2,
    "hook_post": 2,
}


@dataclass(frozen=True, order=True)
class Place:
    """A point of the residual stream: before block `layer`, or, with `mid`, between its attention and MLP."""

    layer: int
    mid: bool

    def name(self, n_layers: int) -> str:
        """The hook that holds the stream at this place, in a model of so many blocks."""
        if self.layer == n_layers:
            return f"blocks.{n_layers - 1}.hook_resid_post"
        return f"blocks.{self.layer}.hook_resid_{'mid' if self.mid else 'pre'}"


def point_of(hook: str) -> str:
    """The last part of a name: "hook_z" of "blocks.5.attn.hook_z"."""
    return hook.rsplit(".", 1)[-1]


def in_block(hook: str) -> int | None:
    """The block's number; None for a name that is no hook of a block."""
    match = _HOOK.fullmatch(hook)
    return None if match is None else int(match[1])


def at_block(layer: int | str) -> list[str]:
    """The hooks of one block whose directions lie in the residual stream, or are mapped into it."""
    inside = {"hook_z": "attn.", "hook_post": "mlp."}
    return [f"blocks.{layer}.{inside.get(point, '')}{point}" for point in BY_DEPTH]


def layer_of(hook: str) -> int:
    """The block's number: 8 of "blocks.8.hook_resid_pre"; FsrlError for a name that is no hook of a block."""
    layer = in_block(hook)
    if layer is None:
        raise FsrlError(f"hook {hook!r}: expected blocks.N.hook_NAME")
    return layer


def place_of(hook: str, *, parallel: bool = False) -> Place:
    """Where directions of a hook are added; FsrlError for one that doesn't write to the residual stream.

    parallel: whether attention and MLP of the block read the same stream (GPT-NeoX, GPT-J): what the
    attention writes then reaches the stream after the block.
    """
    if hook == EMBEDDING:
        return Place(0, False)
    match = _HOOK.fullmatch(hook)
    if match is None or match[3] not in _DONE_BEFORE:
        known = ", ".join(point.removeprefix("hook_") for point in _DONE_BEFORE)
        raise FsrlError(f"effects: nothing can be added at {hook!r}; known hooks: {known}")
    done = _DONE_BEFORE[match[3]]
    if parallel and match[3] in ATTENTION:
        done = 2
    return Place(int(match[1]) + done // 2, done == 1)


def residual_hook(hook: str) -> str:
    """The residual hook whose activations stand for `hook`; FsrlError for a name that is no hook of a block.

    >>> residual_hook("blocks.5.attn.hook_z")
    'blocks.5.hook_resid_post'
    """
    if hook == EMBEDDING:
        return Place(0, False).name(1)
    match = _HOOK.fullmatch(hook)
    if match is None:
        raise FsrlError(f"activations: {hook!r} is no hook of a block; write blocks.5.hook_resid_pre")
    return hook if match[3] in STREAM else f"blocks.{match[1]}.hook_resid_post"


def hook_label(hook: str) -> str:
    """A short name of a hook or SAE id: "blocks.3.hook_resid_pre" is "3 pre"; other forms are kept."""
    # A layer's neurons would otherwise read like hook_resid_post.
    match = _HOOK.fullmatch(hook.replace("mlp.hook_post", "hook_mlp_neurons"))
    if match is None:
        return hook
    name = match[3].removeprefix("hook_").removeprefix("resid_").replace("_", " ")
    return f"{match[1]} {name}"


def depth(name: str) -> tuple[int, int, list[int | str]]:
    """Sort key of names of hooks and SAEs: blocks.2 before blocks.10, and within a block as it computes."""
    parts: list[int | str] = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
    depths = [number for number, point in enumerate(BY_DEPTH) if point in name]
    layers = [part for part in parts if isinstance(part, int)]
    return (layers or [0])[0], (depths or [len(BY_DEPTH)])[0], parts
