"""An SAE's decoder rows (or a model's MLP neurons) as directions of the residual stream, with provenance.

Of a transcoder, which reads one place of the model and writes another, they are directions of the place where
it writes.
"""

from collections.abc import Iterator
from typing import Any

import torch

from fsrl.errors import FsrlError
from fsrl.hooks import EMBEDDING, MAPPED, at_block, in_block, layer_of, point_of
from fsrl.models import fit as model_fit
from fsrl.models import hub_files, sae_config, writing
from fsrl.models.decoder_rows import decoder_rows, per_vector
from fsrl.models.hub_files import shown
from fsrl.models.reading import Model
from fsrl.models.sae_files import SAEFiles
from fsrl.models.saes import densities, load, remedy, written_hook
from fsrl.models.sources import SAESource
from fsrl.weights.matrices import Decoder

FETCH = "fetch it first (fsrl.models.hub_files.fetch, or `snakemake --cores 1 download`)"


def decoders(source: SAESource, model: Model, *, study: str) -> Iterator[Decoder]:
    """Directions of each SAE (or layer of neurons) in the residual stream, one after the other.

    A row is what one unit of the feature adds (`decoder_rows`), in the residual stream: heads go through
    their layer's W_O, MLP neurons through its W_out; a model's own neurons are the rows of W_out. Each SAE is
    read whole, so that whatever is wrong with it is known here. Raises FsrlError for a missing, broken or
    contradictory file, a number that is not finite, a hook that does not write to the residual stream, and an
    SAE of another model: by name where the release says it, by its layers and width in any case.
    """
    source.local_files()
    hub_files.require(source.hub_files(), FETCH)
    for sae_id in source.sae_ids:
        if source.neurons is not None:
            yield _neurons(sae_id, model, study)
        else:
            yield _sae(SAEFiles.of(source, sae_id), model, study)


def blocks(source: SAESource) -> int:
    """How many of a model's first blocks `decoders` looks into: up to the last one whose heads or neurons a
    dictionary's rows go through, and 1 where none does. Errors as of `decoders`, of files that it needs.
    """
    source.local_files()
    hub_files.require(source.hub_files(), FETCH)
    if source.neurons is not None:
        return 1 + max(map(layer_of, source.sae_ids))
    hooks = [written_hook(SAEFiles.of(source, sae_id)) for sae_id in source.sae_ids]
    mapped = [in_block(hook) for hook in hooks if hook is not None and MAPPED.get(point_of(hook))]
    return 1 + max((layer for layer in mapped if layer is not None), default=0)


def _sae(files: SAEFiles, model: Model, study: str) -> Decoder:
    found = hub_files.checked_sha256(files.weights)
    loaded = load(files)
    sae = loaded.sae
    _check_model(_trained_on(files, sae), model, files.settings)
    read, written = sae.cfg.metadata.hook_name, sae.cfg.metadata.hook_name_out
    hook = _hook(written or read, model, files.settings)
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
    if written not in (None, read):
        metadata["encoder_hook"] = f"{read}: a transcoder, whose decoder writes elsewhere"
    if MAPPED.get(point_of(hook)):
        rows, metadata["decoder_mapping"] = writing.in_stream(rows, model.bridge, hook, shown(files.weights))
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


def _hook(hook: str | None, model: Model, place: str) -> str:
    """The hook, checked: directions there lie in the residual stream of this model or are mapped into it."""
    layers = model.n_layers
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
    layer, layers = layer_of(sae_id), model.n_layers
    if layer >= layers:
        raise FsrlError(f"{model.source.name} has {layers} layers; saes.neurons asks for more")
    rows = writing.matrix_of(model.bridge, sae_id, model.source.name).float().contiguous()
    rows, after = writing.after_norm(rows, model.bridge, sae_id, model.source.name)
    metadata = {
        "study": study,
        **model.metadata,
        "release": "none: MLP neurons",
        "decoder_mapping": "rows of W_out" + after,
    }
    return Decoder(rows, None, sae_id, layer, sae_id, metadata)


def _trained_on(files: SAEFiles, sae: Any) -> str | None:
    """The model's name, as the files say it, or the directory where a loader says less than it."""
    if files.source.release is not None and not files.source.listed.files.names_model:
        return files.source.listed.model
    return sae.cfg.metadata.model_name


def _check_model(name: str | None, model: Model, place: str) -> None:
    """A folder's model has no official name to compare, so d_model must do there."""
    if name and model.source.hub and not model_fit.same_model(name, model.source.hub):
        raise FsrlError(
            f"{place}: this SAE was trained on {name}, but the study's model is {model.source.hub}"
        )
