"""Models and SAEs, through TransformerLens and SAELens, as `Unembedding` and `Decoder`.

This is the only module of the analysis path that imports transformer_lens and sae_lens (five to six seconds
each); everything after it reads the safetensors files that `weights` writes. Whatever the source (hub cache
or folder, see `fsrl.models.sources`), only local files are read here, and of an SAE only its decoder;
fetching is `fsrl.models.hub_files.fetch`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.hooks import layer_of
from fsrl.models import fit as model_fit
from fsrl.models import hub_files
from fsrl.models.hub_files import clear_errors, shown
from fsrl.models.saes import SAEFiles, read_sae
from fsrl.models.sources import ModelSource, SAESource
from fsrl.weights.matrices import Decoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Model:
    """A language model as TransformerLens reads it, unprocessed: raw weights in float32.

    bridge: the TransformerBridge; W_U: without padding columns; metadata: provenance.
    """

    source: ModelSource
    bridge: Any
    W_U: Float32[Tensor, "d_model d_vocab"]
    tokens: tuple[str, ...]
    metadata: dict[str, str]

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.W_U.shape[0]


def read_model(source: ModelSource) -> Model:
    """The model, from its folder or the hub's cache. Raises FsrlError for a missing or broken file."""
    source.local_files()
    hub_files.require(
        source.hub_files(), "fetch it first (fsrl.models.hub_files.fetch, or `snakemake download`)"
    )
    folder = source.directory()
    stored = folder / "model.safetensors"
    found = hub_files.checked_sha256(stored)
    from transformer_lens.model_bridge import TransformerBridge

    with clear_errors(stored):
        bridge = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
    tokenizer = bridge.tokenizer
    # GPT-2's vocabulary may be padded to a round size: columns that no token owns are left out.
    W_U = bridge.W_U.detach()[:, : len(tokenizer)].contiguous()
    metadata = {
        "model": source.name,
        "model_revision": "local folder" if source.hub is None else hub_files.commit(folder / "config.json"),
        "model_sha256": found,
        **_versions(),
    }
    return Model(
        source, bridge, W_U, tuple(tokenizer.convert_ids_to_tokens(list(range(W_U.shape[1])))), metadata
    )


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


def load_model(place: str | Path, device: str | torch.device = "cpu") -> Any:
    """A model to run and to wrap in `fsrl.HookedModel`: a TransformerBridge in compatibility mode, float32.

    Its LayerNorms are folded, its writing weights and W_U centred. place: the folder of a study (with model/
    in it, "data/mini"), a model's folder in Hugging Face layout, or a name on the hub ("gpt2-small"), which
    is fetched unless it is in the cache. Raises FsrlError for a device that is not here, a missing or broken
    file and a hub that cannot be reached.
    """
    arguments.require(arguments.is_path(place), "load_model", "place", place, "give a folder or a name")
    device = arguments.device(device, "load_model")
    from transformer_lens.model_bridge import TransformerBridge

    folder = next((path for path in (Path(place) / "model", Path(place)) if path.is_dir()), None)
    if folder is not None:
        # The whole path, which names the same place after a change of the working directory.
        source = ModelSource(folder=str(folder.absolute()))
        source.local_files()
    else:
        source = ModelSource(hub=model_fit.official_name(str(place)) or str(place))
        hub_files.fetch(source.hub_files())
    stored = source.directory() / "model.safetensors"
    hub_files.checked_sha256(stored)
    with clear_errors(stored):
        bridge = TransformerBridge.boot_transformers(str(source.directory()), dtype=torch.float32)
    bridge.cfg.model_name = source.name
    bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge.to(device, print_details=False)


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


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformer-lens", "sae-lens", "transformers")}
