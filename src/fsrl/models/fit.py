"""Does an SAE belong to a model? Its model's name, its hook, the hook's width, the device, the centring.

A transformer with LayerNorm never reads the mean of the residual stream over d_model, so TransformerLens
takes it out of every weight that writes there (centred writing weights). An SAE trained on the one stream
encodes the other one wrongly, and nothing else shows it.
"""

import warnings
from typing import Any

from fsrl.errors import FsrlError, did_you_mean
from fsrl.hooks import WRITTEN, point_of
from fsrl.models import sae_config

# An embedding counts as centred where the means of its rows (root mean square) are this small beside its
# spread. Rounding to bfloat16 leaves 2^-9 / sqrt(3 d_model), 3e-4 at a width of 16; numbers that nobody
# centred have about 1 / sqrt(d_model), 0.04 in GPT-2 small.
CENTRED = 1e-3


def official_name(name: str) -> str | None:
    """TransformerLens' name of a model ("gpt2" for "gpt2-small"); None where it knows none (a folder's)."""
    from transformer_lens.loading_from_pretrained import get_official_model_name

    try:
        return get_official_model_name(name.removeprefix("openai-community/"))
    except ValueError:
        return None


def same_model(name: str, other: str) -> bool:
    """Whether two names are of one model: by TransformerLens' names ("gpt2-small" is "gpt2"); by the last
    parts where it knows none for one that has no other part ("Llama-3.1-8B-Instruct": some of SAELens'
    loaders leave the rest out). Capitals do not count.
    """
    known = [official_name(given) for given in (name, other)]
    one, two = ((found or given).casefold() for found, given in zip(known, (name, other), strict=True))
    if one.removeprefix("openai-community/") == two.removeprefix("openai-community/"):
        return True
    cut = any("/" not in given and found is None for found, given in zip(known, (one, two), strict=True))
    return cut and one.rsplit("/", 1)[-1] == two.rsplit("/", 1)[-1]


def is_bridge(model: Any) -> bool:
    """Whether this is a TransformerBridge; else a HookedTransformer."""
    return hasattr(model, "enable_compatibility_mode")


def check(model: Any, sae: Any) -> None:
    """Raise FsrlError unless the adapter `sae` belongs to `model`: name, width, hook and device.

    Names are compared where TransformerLens knows the model's; for a folder's model d_model must do.
    """
    metadata, name = sae.cfg.metadata, model.cfg.model_name
    trained_on = metadata.model_name
    if official_name(str(name)) and trained_on and not same_model(trained_on, str(name)):
        raise FsrlError(f"HookedModel: the SAE was trained on {trained_on}, but the model is {name}")
    hook = metadata.hook_name
    if hook is None:
        raise FsrlError("HookedModel: the SAE does not say its hook; set sae.cfg.metadata.hook_name")
    width = _width(model, hook)
    if width is not None and width != sae.cfg.d_in:
        raise FsrlError(
            f"HookedModel: the SAE has d_in {sae.cfg.d_in}, but {hook} of {name} is {width} wide; this SAE "
            "was trained on another model"
        )
    known = model.hook_dict
    if hook not in known:
        raise FsrlError(f"HookedModel: {name} has no hook {hook}{did_you_mean(hook, known)}")
    device = next(model.parameters()).device
    if device != sae.W_dec.device:
        raise FsrlError(
            f"HookedModel: the SAE is on {sae.W_dec.device}, the model on {device}; move one of them with .to"
        )


def _width(model: Any, hook: str) -> int | None:
    """Width of the activation at a hook, heads joined; None where it is not known beforehand."""
    place = point_of(hook)
    if place == "hook_z":
        return int(model.cfg.n_heads * model.cfg.d_head)
    if place in ("hook_pre", "hook_post"):
        return int(model.cfg.d_mlp)
    return int(model.cfg.d_model) if place in WRITTEN else None


def warn_of_centring(model: Any, sae: Any) -> None:
    """Warn, with the call to make, where the SAE was trained with centred writing weights and the model has
    none, or the other way round; not of an SAE that does not say.
    """
    metadata = sae.cfg.metadata
    written = point_of(metadata.hook_name) not in ("hook_z", "hook_pre", "hook_post")
    # An SAE that takes the mean out of each activation vector cannot tell.
    told = metadata.model_from_pretrained_kwargs is not None and sae.cfg.normalize_activations != "layer_norm"
    if not (told and written) or model.cfg.normalization_type not in ("LN", "LNPre"):
        return
    wanted = sae_config.processing(metadata)["center_writing_weights"]
    embedding = model.W_E.detach().float()
    if wanted == bool(embedding.mean(-1).square().mean().sqrt() <= CENTRED * embedding.std()):
        return
    name = model.cfg.model_name
    call = f'HookedTransformer.from_pretrained("{name}", center_writing_weights=True)'
    if is_bridge(model):
        call = "model.enable_compatibility_mode()"
    if not wanted:
        call = f'HookedTransformer.from_pretrained_no_processing("{name}")'
    trained, has = ("with", "does not have") if wanted else ("without", "has")
    warnings.warn(
        f"the SAE was trained on a model {trained} centred writing weights, which this model {has}; "
        f"call {call}",
        stacklevel=3,
    )
