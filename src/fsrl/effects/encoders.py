"""When a dictionary's features are active, and how strongly, in units of the residual stream.

An SAE's encoder is read through SAELens and applied to what its hook holds in the clean run, brought into the
form that the SAE was trained on (`sae_config.processing`: model_from_pretrained_kwargs, or TransformerLens'
defaults where the SAE names none):

    centred writing weights   less its mean over d_model, in the residual stream or at what is added to it,
                              in a model with LayerNorms: TransformerLens centres no other
    folded value biases       less b_V, at hook_z (b_O holds them then)

An activation times row i of the decoder is what the feature adds to the hook; where an SAE divides by the
scale of each activation vector first, it is multiplied back in. A feature is active where its activation is
not 0 (AbsTopK's have both signs). A neuron's activation is what its layer's hook_post holds, after the
nonlinearity; the little that GELU lets through below 0 (at most .17) counts as not active. In a gated MLP
(Llama, Gemma) that is the nonlinearity times a linear part of either sign, and the gate says what is active.
"""

import logging
from collections.abc import Collection, Iterable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl.effects import forward
from fsrl.errors import FsrlError
from fsrl.hooks import WRITTEN, layer_of, point_of
from fsrl.models import sae_config
from fsrl.models.decoder_rows import per_vector
from fsrl.models.sae_files import SAEFiles
from fsrl.models.saes import load
from fsrl.models.sources import SAESource

logger = logging.getLogger(__name__)

# Copies that an encoder makes of its activations on the way.
COPIES = 5


def read_encoder(source: SAESource, sae_id: str, device: str | torch.device = "cpu") -> Any:
    """The SAE, in float32, from its folder or the hub's cache. FsrlError if broken, and for a transcoder: its
    activations are those of another hook than its directions'.

    Warns of an SAE that never saw the windows' first token.
    """
    sae = load(SAEFiles.of(source, sae_id)).sae.to(device=device)
    if "transcoder" in sae.cfg.architecture():
        raise FsrlError(
            f"effects: {sae_id} is a transcoder, which reads {sae.cfg.metadata.hook_name} and writes "
            f"{sae.cfg.metadata.hook_name_out}; build the study without: [effects]"
        )
    if sae.cfg.metadata.prepend_bos is False:
        logger.warning("SAE %s was trained without a first token (prepend_bos), which windows have", sae_id)
    return sae


@torch.no_grad()
def activations(
    sae: Any,
    stored: Float[Tensor, "contexts positions *width"],
    hook: str,
    b_V: Float[Tensor, "layers heads d_head"] | None,
    features: Int64[Tensor, "features"],
    *,
    norm: str = "LayerNorm",
) -> Float[Tensor, "contexts positions features"]:
    """Activations on the CPU, in residual units, of the features asked for.

    stored: what the raw model's hook holds, [..., heads, d_head] at hook_z and [..., d_model] elsewhere; b_V:
    None for a model without value biases; norm: the model's (`fsrl.models.head`).
    """
    x = _as_trained(sae, stored, hook, b_V, norm)
    # An SAE over hook_z would flatten the heads itself; they are flat here.
    sae.turn_off_forward_pass_hook_z_reshaping()
    size = forward.rows(x.device, COPIES * x.element_size() * int(sae.cfg.d_sae))
    # A temporal SAE reads earlier positions too.
    together = sae.cfg.architecture() == "temporal"
    batches = x.split(max(1, size // x.shape[1])) if together else x.flatten(0, 1).split(size)
    parts = []
    for part in batches:
        found = sae.encode(part)[..., features.to(part.device)]
        parts.append((found * _scale(sae)).cpu())
    return torch.cat(parts).view(*stored.shape[:2], -1)


def of_neurons(
    stored: Float[Tensor, "contexts positions d_mlp"],
    features: Int64[Tensor, "features"],
    gate: Float[Tensor, "contexts positions d_mlp"] | None = None,
) -> Float[Tensor, "contexts positions features"]:
    """Activations on the CPU of the neurons asked for, 0 where they are not active.

    stored: what hook_post of the raw model holds. Times row i of W_out it is what neuron i adds to the
    residual stream, so these are in residual units. gate: of a gated MLP, what its nonlinearity reads; a
    neuron is active where that is above 0.
    """
    own = stored[..., features.to(stored.device)]
    if gate is None:
        return own.clamp(min=0).cpu()
    return (own * (gate[..., features.to(gate.device)] > 0)).cpu()


def gate_of(hook: str) -> str:
    """The hook that holds what the nonlinearity of a layer's MLP reads, beside its hook_post."""
    return f"{hook.removesuffix('hook_post')}hook_pre"


def gates(bridge: Any, hooks: Iterable[str]) -> list[str]:
    """`gate_of` the hooks at neurons, in a model with gated MLPs."""
    gated = bool(getattr(bridge.cfg, "gated_mlp", False))
    return [gate_of(hook) for hook in hooks if gated and point_of(hook) == "hook_post"]


def value_biases(bridge: Any, hooks: Collection[str]) -> Float[Tensor, "layers heads d_head"] | None:
    """b_V, of each query head where heads share their values; None for a model without, and where no hook
    of heads is read.
    """
    attention = [block.attn for block in bridge.blocks if hasattr(block, "attn")]
    none = any(getattr(part, "b_V", None) is None for part in attention)
    if none or not any(point_of(hook) == "hook_z" for hook in hooks):
        return None
    b_V = bridge.b_V.detach()
    return b_V.repeat_interleave(bridge.cfg.n_heads // b_V.shape[1], dim=1)


def _as_trained(
    sae: Any,
    stored: Float[Tensor, "contexts positions *width"],
    hook: str,
    b_V: Float[Tensor, "layers heads d_head"] | None,
    norm: str,
) -> Float[Tensor, "contexts positions d_in"]:
    """What the hook of the model that the SAE was trained on would hold."""
    processed = sae_config.processing(sae.cfg.metadata)
    if point_of(hook) == "hook_z":
        flat = stored.flatten(2)
        if b_V is None or not processed["fold_value_biases"]:
            return flat
        return flat - b_V[layer_of(hook)].flatten().to(flat)
    if point_of(hook) in WRITTEN and processed["center_writing_weights"] and norm == "LayerNorm":
        return stored - stored.mean(-1, keepdim=True)
    return stored


def _scale(sae: Any) -> Float[Tensor, "*any 1"] | float:
    """What SAELens multiplies its output by, as set by the last call of `encode`."""
    if not per_vector(sae):
        return 1.0
    return sae.ln_std if sae.cfg.normalize_activations == "layer_norm" else 1 / sae.x_norm_coeff
