"""An SAE's decoder rows (or a model's MLP neurons) as directions of the residual stream, with provenance."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.hooks import EMBEDDING, MAPPED, at_block, in_block, layer_of, point_of
from fsrl.models import fit as model_fit
from fsrl.models import hub_files, sae_config
from fsrl.models.decoder_rows import decoder_rows, per_vector
from fsrl.models.hub_files import shown
from fsrl.models.reading import Model
from fsrl.models.saes import SAEFiles, densities, load, remedy
from fsrl.models.sources import SAESource
from fsrl.weights.matrices import Decoder


def decoders(source: SAESource, model: Model, *, study: str) -> Iterator[Decoder]:
    """Directions of each SAE (or layer of neurons) in the residual stream, one after the other.

    A row is what one unit of the feature adds (`decoder_rows`), in the residual stream: heads go through
    their layer's W_O, MLP neurons through its W_out; a model's own neurons are the rows of W_out. Each SAE is
    read whole, so that whatever is wrong with it is known here. Raises FsrlError for a missing, broken or
    contradictory file, a number that is not finite, a hook that does not write to the residual stream, and an
    SAE of another model: by name where the release says it, by its layers and width in any case.
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
    found = hub_files.checked_sha256(files.weights)
    loaded = load(files)
    sae = loaded.sae
    _check_model(sae.cfg.metadata.model_name, model, files.settings)
    hook = _hook(sae.cfg.metadata.hook_name, model, files.settings)
    log10_density = densities(files, sae.cfg.d_sae)
    rows = decoder_rows(sae)
    is_W_dec = torch.equal(rows, sae.W_dec)
    # Norms that are divided out take the factor with them; in matching pursuit it falls on the features.
    scaled = loaded.scaling != 1 and is_W_dec and sae.cfg.architecture() != "matching_pursuit"
    metadata = {
        "study": study,
        **model.metadata,
        "release": files.release,
        "sae_revision": files.revision,
        "sae_sha256": found,
        "sae_architecture": sae.cfg.architecture(),
        "sae_training": sae_config.training(sae.cfg.metadata),
        "decoder_mapping": "none",
        "decoder_scaling": f"divided by {loaded.scaling}" if scaled else "none",
        "decoder_rows": "W_dec" if is_W_dec else "decode(one-hot) - decode(0), not W_dec",
        "decoder_units": (
            f"of activation vectors normalised one by one ({sae.cfg.normalize_activations})"
            if per_vector(sae)
            else "of the residual stream"
        ),
    }
    if writing := MAPPED.get(point_of(hook)):
        rows = in_stream(rows, model.bridge, hook, shown(files.weights))
        metadata["decoder_mapping"] = f"through {writing} into the residual stream"
    if rows.shape[1] != model.d_model:
        raise FsrlError(
            f"{shown(files.weights)}: W_dec has d_model {rows.shape[1]}, but {model.source.name} has "
            f"{model.d_model}; this SAE was trained on another model"
        )
    layer = -1 if hook == EMBEDDING else layer_of(hook)
    try:
        return Decoder(rows, log10_density, hook, layer, files.sae_id, metadata)
    except FsrlError as error:
        raise FsrlError(f"{shown(files.weights)}: {error}; {remedy(files.weights)}") from None


def in_stream(
    rows: Float[Tensor, "d_sae d_in"], model: Any, hook: str, place: str
) -> Float[Tensor, "d_sae d_model"]:
    """Rows over hook_z or hook_post of a TransformerLens model as what they add to the residual stream.

    Rows over other hooks are in it already. place: how errors name the rows. Raises FsrlError for rows of
    another width than the heads or neurons have together.
    """
    writing = MAPPED.get(point_of(hook))
    if writing is None:
        return rows
    matrix = getattr(model, writing)[layer_of(hook)].detach()
    matrix = matrix.reshape(-1, matrix.shape[-1]).to(rows)
    if rows.shape[1] != len(matrix):
        raise FsrlError(
            f"{place}: W_dec has width {rows.shape[1]}, but at {hook} the model has {len(matrix)}; this SAE "
            "was trained on another model"
        )
    return rows @ matrix


def _hook(hook: str | None, model: Model, place: str) -> str:
    """The hook, checked: directions there lie in the residual stream of this model or are mapped into it."""
    layers = model.bridge.cfg.n_layers
    if hook is None:
        raise FsrlError(f"{place}: no hook_name; say at which hook of TransformerLens the SAE was trained")
    layer = in_block(hook)
    if hook != EMBEDDING and (layer is None or hook not in at_block(layer)):
        raise FsrlError(
            f"{place}: hook_name is {hook!r}, which neither is in the residual stream nor is mapped into it, "
            f"so its directions have no logit weights; known: {EMBEDDING}, {', '.join(at_block('N'))}"
        )
    if layer is not None and layer >= layers:
        raise FsrlError(
            f"{place}: hook_name is {hook!r}, but {model.source.name} has {layers} layers, from 0; this SAE "
            "was trained on another model"
        )
    return hook


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


def _check_model(name: str | None, model: Model, place: str) -> None:
    """A folder's model has no official name to compare, so d_model must do there."""
    if name and model.source.hub and _official(name) != _official(model.source.hub):
        raise FsrlError(
            f"{place}: this SAE was trained on {name}, but the study's model is {model.source.hub}"
        )


def _official(name: str) -> str:
    """TransformerLens' name of a model: gpt2 for gpt2-small; the name itself where it knows none."""
    return model_fit.official_name(name) or name.removeprefix("openai-community/")
