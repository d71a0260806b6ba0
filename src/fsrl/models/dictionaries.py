"""An SAE's decoder rows (or a model's MLP neurons) as directions of the residual stream, with provenance."""

from collections.abc import Iterator
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.hooks import layer_of
from fsrl.models import fit as model_fit
from fsrl.models import hub_files
from fsrl.models.hub_files import clear_errors, shown
from fsrl.models.reading import Model
from fsrl.models.saes import SAEFiles, read_sae
from fsrl.models.sources import SAESource
from fsrl.weights.matrices import Decoder


def decoders(source: SAESource, model: Model, *, study: str) -> Iterator[Decoder]:
    """Directions of each SAE (or layer of neurons) in the residual stream, one after the other.

    W_dec as SAELens loads it; a hook_z decoder is mapped through its layer's W_O, neurons are the rows of
    W_out. Raises FsrlError for a missing or broken file, a weight that is not finite, and an SAE of another
    model: by name where the release says it, by d_model in any case.
    """
    source.local_files()
    hub_files.require(
        source.hub_files(), "fetch it first (fsrl.models.hub_files.fetch, or `snakemake download`)"
    )
    for sae_id in source.sae_ids:
        if source.neurons is not None:
            yield _neurons(sae_id, model, study)
        else:
            yield _sae(SAEFiles.of(source, sae_id), model, study)


def _sae(files: SAEFiles, model: Model, study: str) -> Decoder:
    with clear_errors(files.weights):
        sae = read_sae(files)
    _check_model(sae.model_name, model, files.weights)
    W_dec, mapping = sae.W_dec, "none"
    layer = layer_of(sae.hook)
    if sae.hook.endswith("hook_z"):
        W_dec, mapping = through_W_O(W_dec, model, layer), "through W_O into the residual stream"
    if W_dec.shape[1] != model.d_model:
        raise FsrlError(
            f"{shown(files.weights)}: W_dec has d_model {W_dec.shape[1]}, but {model.source.name} has "
            f"{model.d_model}; this SAE was trained on another model"
        )
    metadata = {
        "study": study,
        **model.metadata,
        "release": files.release,
        "sae_revision": files.revision,
        "sae_sha256": hub_files.checked_sha256(files.weights),
        "decoder_mapping": mapping,
        "decoder_scaling": f"divided by {sae.scaling}" if sae.scaling != 1 else "none",
    }
    try:
        return Decoder(W_dec, sae.log10_density, sae.hook, layer, files.sae_id, metadata)
    except FsrlError as error:
        raise FsrlError(f"{shown(files.weights)}: {error}; fetch this file again") from None


def through_W_O(
    W_dec: Float[Tensor, "d_sae d_in"], model: Model, layer: int
) -> Float[Tensor, "d_sae d_model"]:
    """Decoder rows over hook_z, whose d_in is n_heads * d_head, as what they add to attn_out.

    Raises FsrlError for rows of another width.
    """
    W_O = model.bridge.W_O[layer].detach().reshape(-1, model.d_model)
    if W_dec.shape[1] != len(W_O):
        raise FsrlError(
            f"hook_z decoder: W_dec has width {W_dec.shape[1]}, but the heads of {model.source.name} have "
            f"{len(W_O)} together; this SAE was trained on another model"
        )
    return W_dec @ W_O


def _neurons(sae_id: str, model: Model, study: str) -> Decoder:
    layer = layer_of(sae_id)
    if layer >= len(model.bridge.W_out):
        raise FsrlError(
            f"{model.source.name} has {len(model.bridge.W_out)} layers; saes.neurons asks for more"
        )
    rows = model.bridge.W_out[layer].detach().float().contiguous()
    metadata = {
        "study": study,
        **model.metadata,
        "release": "none: MLP neurons",
        "decoder_mapping": "rows of W_out",
    }
    return Decoder(rows, None, sae_id, layer, sae_id, metadata)


def _check_model(name: str | None, model: Model, path: Path) -> None:
    """A folder's model has no official name to compare, so d_model must do there."""
    if name and model.source.hub and _official(name) != _official(model.source.hub):
        raise FsrlError(
            f"{shown(path)}: this SAE was trained on {name}, but the study's model is {model.source.hub}"
        )


def _official(name: str) -> str:
    """TransformerLens' name of a model: gpt2 for gpt2-small; the name itself where it knows none."""
    return model_fit.official_name(name) or name.removeprefix("openai-community/")
