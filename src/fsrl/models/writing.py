"""What directions at a hook add to the residual stream, where a block does something to them first.

    hook_z [n_heads * d_head]    attn_out = norm(z @ W_O + b_O)
    hook_post [d_mlp]            mlp_out  = norm(post @ W_out + b_out)

norm is the identity in most models. Gemma 2 and 3 have one there (ln1_post, ln2_post; an RMSNorm with the
gain 1 + w): where v is added to z and the norm's denominator s is held, attn_out changes by

    gain * (v @ W_O) / s

s is of the position, and the same for all directions: rows are given without it, so they are right up to one
factor that a layer's rows share. Skewness, kurtosis, types, and whatever compares rows within a layer do not
depend on it; std and mean do. What hook_attn_out and hook_mlp_out hold comes after the norm, and is added as
it is. The norm's kind and gain are found by asking it, and the whole formula by asking the model (but GPT-2,
whose tests do).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.hooks import MAPPED, layer_of, point_of
from fsrl.models import head

# The norm that follows, by the name that TransformerLens gives it in the block, and what it gives.
POST_NORMS = {"hook_z": ("ln1_post", "hook_attn_out"), "hook_post": ("ln2_post", "hook_mlp_out")}
# Whose blocks need no look each time: the tests compare them.
TESTED = ("GPT2LMHeadModel",)


@torch.no_grad()
def in_stream(
    rows: Float[Tensor, "d_sae d_in"], model: Any, hook: str, place: str
) -> tuple[Float[Tensor, "d_sae d_model"], str]:
    """Rows over hook_z or hook_post of a TransformerLens model as what they add to the residual stream, and
    what was done, for tables' metadata; rows over other hooks are in it already ("none").

    place: how errors name the rows. Raises FsrlError for rows of another width than the heads or neurons have
    together, and for a model that does something else between hook and stream.
    """
    matrix_name = MAPPED.get(point_of(hook))
    if matrix_name is None:
        return rows, "none"
    matrix = matrix_of(model, hook, place)
    matrix = matrix.reshape(-1, matrix.shape[-1]).to(rows)
    if rows.shape[1] != len(matrix):
        raise FsrlError(
            f"{place}: W_dec has width {rows.shape[1]}, but at {hook} the model has {len(matrix)}; this SAE "
            "was trained on another model"
        )
    mapped, after = after_norm(rows @ matrix, model, hook, place)
    return mapped, f"through {matrix_name}{after} into the residual stream"


def matrix_of(model: Any, hook: str, place: str) -> Float[Tensor, "*d_in d_model"]:
    """W_O or W_out of the hook's block. Raises FsrlError where not every block of the model has one: of
    experts there are many, and TransformerLens leaves out blocks of other kinds when it stacks them.
    """
    name = MAPPED[point_of(hook)]
    stacked = getattr(model, name, None)
    if stacked is None or len(stacked) != model.cfg.n_layers:
        raise FsrlError(
            f"{place}: directions at {hook} go through {name}, which not every block of the model has "
            "(experts, or blocks of several kinds); give those of another place"
        )
    return stacked[layer_of(hook)].detach()


@torch.no_grad()
def after_norm(
    rows: Float[Tensor, "d_sae d_model"], model: Any, hook: str, place: str
) -> tuple[Float[Tensor, "d_sae d_model"], str]:
    """Rows over what the block's matrix gives, after the norm that follows, if there is one, and words that
    say so ("" for none). Errors as `in_stream`.
    """
    layer, (name, _) = layer_of(hook), POST_NORMS[point_of(hook)]
    norm = getattr(model.blocks[layer], name, None)
    kind, gain = "none", None
    if norm is not None:
        kind, gain, _ = head.read_norm(norm, model.W_U.detach()[:, 0], f"{place}: {name} of block {layer}")
    _check_path(model, hook, place)
    if gain is None:
        return rows, ""
    if kind == "LayerNorm":
        rows = rows - rows.mean(dim=1, keepdim=True)
    centred = "centred, " if kind == "LayerNorm" else ""
    held = f"{kind}; its denominator, one of a position, is held and left out"
    return rows * gain.to(rows), f", {centred}times the gain of {name} ({held})"


def _check_path(model: Any, hook: str, place: str) -> None:
    """Raise FsrlError unless what the block adds to the stream is the norm of what its matrix gives."""
    cfg = model.cfg
    if (getattr(cfg, "architecture", None) or getattr(cfg, "original_architecture", None)) in TESTED:
        return
    layer, point = layer_of(hook), point_of(hook)
    name, written = POST_NORMS[point]
    matrix = matrix_of(model, hook, place)
    outputs = ("hook_attn_out", "hook_mlp_out", "hook_resid_pre", "hook_resid_post")
    names = [hook, *(f"blocks.{layer}.{output}" for output in outputs)]
    tokens = head.probe_tokens(model.W_U.shape[1], cfg.n_ctx).to(matrix.device)
    _, cache = model.run_with_cache(tokens, names_filter=names)
    attn_out, mlp_out, before, after = (cache[one].float() for one in names[1:])
    expected = cache[hook].float().flatten(2) @ matrix.reshape(-1, matrix.shape[-1]).float()
    bias = getattr(model.blocks[layer].attn, "b_O", None) if point == "hook_z" else None
    if point == "hook_post":
        bias = getattr(model.blocks[layer].mlp, "b_out", None)
    expected = expected if bias is None else expected + bias.float()
    norm = getattr(model.blocks[layer], name, None)
    expected = expected if norm is None else norm(expected)
    found = attn_out if written == "hook_attn_out" else mlp_out
    tolerance = torch.finfo(torch.float32).eps ** 0.5
    same = (found - expected).abs().max() <= tolerance * expected.abs().max()
    summed = (before + attn_out + mlp_out - after).abs().max() <= tolerance * after.abs().max()
    if not (same and summed):
        raise FsrlError(
            f"{place}: block {layer} of the model does more to {hook} than {MAPPED[point]} and a norm before "
            "it reaches the residual stream, so directions there have no logit weights"
        )
