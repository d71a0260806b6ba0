"""When a dictionary's features are active, and how strongly, in units of the residual stream.

An SAE's encoder is read through SAELens and applied to what its hook holds in the clean run. SAEs are trained
on TransformerLens' processed models, so what their hook holds is brought into that form first: centred over
d_model where it is in the residual stream or written to it (every reader of the stream is a LayerNorm), and
for hook_z with b_V taken off (folded into b_O there). An activation times W_dec[i] is what the feature adds
to the hook; where an SAE divides by the scale of each activation vector first, it is multiplied back in.
Neurons have no encoder.
"""

import warnings
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl.effects import forward
from fsrl.hooks import layer_of
from fsrl.models import releases
from fsrl.models.hub_files import clear_errors
from fsrl.models.saes import SAEFiles
from fsrl.models.sources import SAESource

# Copies that an encoder makes of its activations on the way.
COPIES = 5


def read_encoder(source: SAESource, sae_id: str, device: str | torch.device = "cpu") -> Any | None:
    """The SAE, in float32, from its folder or the hub's cache; None for neurons. FsrlError if broken."""
    if source.neurons is not None:
        return None
    from sae_lens import SAE
    from sae_lens.loading.pretrained_sae_loaders import sae_lens_disk_loader

    files = SAEFiles.of(source, sae_id)
    with clear_errors(files.weights), warnings.catch_warnings():
        # What it warns of, the model's processing, is what `activations` sees to.
        warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty")
        if files.layout == releases.HOOK_Z_KK:
            return SAE.from_pretrained(files.release, sae_id, device=str(device))

        def loader(path: Any, device: str = "cpu", cfg_overrides: dict[str, Any] | None = None) -> Any:
            return sae_lens_disk_loader(path, device, {**files.overrides, **(cfg_overrides or {})})

        sae = SAE.load_from_disk(files.weights.parent, device=str(device), dtype="float32", converter=loader)
        if files.scaling is not None and sae.cfg.normalize_activations == "expected_average_only_in":
            sae.fold_activation_norm_scaling_factor(files.scaling)
        return sae


@torch.no_grad()
def activations(
    sae: Any,
    stored: Float[Tensor, "contexts positions *width"],
    hook: str,
    b_V: Float[Tensor, "layers heads d_head"],
    features: Int64[Tensor, "features"],
) -> Float[Tensor, "contexts positions features"]:
    """Activations on the CPU, in residual units, of the features asked for.

    stored: what the raw model's hook holds, [..., heads, d_head] at hook_z and [..., d_model] elsewhere.
    """
    if hook.endswith("hook_z"):
        x = (stored - b_V[layer_of(hook)].to(stored)).flatten(2)
    else:
        x = stored - stored.mean(-1, keepdim=True)
    parts = []
    size = forward.rows(x.device, COPIES * x.element_size() * int(sae.cfg.d_sae))
    # An SAE over hook_z would flatten the heads itself; they are flat here.
    if hasattr(sae, "turn_off_forward_pass_hook_z_reshaping"):
        sae.turn_off_forward_pass_hook_z_reshaping()
    for part in x.flatten(0, 1).split(size):
        found = sae.encode(part)[:, features.to(part.device)]
        parts.append((found * _scale(sae, part)).cpu())
    return torch.cat(parts).view(*stored.shape[:2], -1)


def _scale(sae: Any, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n 1"] | float:
    """What SAELens multiplies its output by, as set by the last call of `encode`."""
    kind = sae.cfg.normalize_activations
    if kind == "layer_norm":
        return sae.ln_std
    if kind == "constant_norm_rescale":
        return 1 / sae.x_norm_coeff
    return 1.0
