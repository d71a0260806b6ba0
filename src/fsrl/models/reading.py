"""Models and SAEs, through TransformerLens and SAELens, as `Unembedding` and `Decoder`.

This is the only module of the analysis path that imports transformer_lens and sae_lens (five to six seconds
each); everything after it reads the safetensors files that `weights` writes. Whatever the source (hub cache
or folder, see `fsrl.models.sources`), only local files are read here, and of an SAE only its decoder;
fetching is `fsrl.models.hub_files.fetch`.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.models import fit as model_fit
from fsrl.models import hub_files
from fsrl.models.hub_files import shown
from fsrl.models.sae_files import SAEFiles, read_sae
from fsrl.models.sources import ModelSource, SAESource
from fsrl.nulls import undertrained
from fsrl.weights.matrices import Decoder, Unembedding

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Model:
    """A language model as TransformerLens reads it, unprocessed: raw weights in float32.

    bridge: the TransformerBridge; W_U [d_model, n_tokens] without padding columns; metadata: provenance.
    """

    source: ModelSource
    bridge: Any
    W_U: Tensor
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


def unembedding(
    model: Model, *, study: str, counts_path: str | Path | None, min_count: int, draws: int, seed: int
) -> Unembedding:
    """W_U of a model, raw and folded, with its tokens and which of them are trained.

    folded = diag(ln_f.weight) @ W_U, centred over d_model: what TransformerLens' compatibility mode computes,
    less its centring over the vocabulary, so that a feature's mean logit weight is kept. A token is trained
    if it occurs at least min_count times where counts are known, else by its distance in W_U
    (`fsrl.nulls.undertrained`, with `draws` random directions). Raises FsrlError for counts that do not fit.
    """
    folded = fold(model.W_U, model.bridge.ln_final.weight.detach())
    counts = None if counts_path is None else _counts(Path(counts_path), model.W_U.shape[1])
    if counts is not None:
        trained = counts >= min_count
        criterion = f"at least {min_count} occurrences in the training text: {int((~trained).sum())} left out"
    else:
        found = undertrained.by_distance(model.W_U, folded, model.tokens, draws=draws, seed=seed)
        trained, criterion = found.trained, found.description
    metadata = {
        "study": study,
        "W_U_processing": "folded: ln_f.weight folded in, centred over d_model; raw: as stored",
        "trained_tokens": criterion,
        **model.metadata,
    }
    return Unembedding(folded, model.W_U, model.tokens, counts, trained, metadata)


def fold(W_U: Tensor, gain: Tensor) -> Tensor:
    """W_U [d_model, d_vocab] with the final LayerNorm's weight [d_model] folded in and the mean over d_model
    removed.
    """
    folded = gain[:, None] * W_U
    return folded - folded.mean(0, keepdim=True)


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


def through_W_O(W_dec: Tensor, model: Model, layer: int) -> Tensor:
    """Decoder rows over hook_z [n, n_heads * d_head] as what they add to attn_out [n, d_model]."""
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


def layer_of(hook: str) -> int:
    """The block's number in a TransformerLens hook name, 8 for "blocks.8.hook_resid_pre"."""
    parts = hook.split(".")
    if len(parts) < 3 or parts[0] != "blocks" or not parts[1].isdigit():
        raise FsrlError(f"hook {hook!r}: expected blocks.N.hook_NAME")
    return int(parts[1])


class clear_errors:
    """Turns what the libraries raise on a broken weights file into one line that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        broken = (SafetensorError, json.JSONDecodeError, KeyError, RuntimeError, OSError, EOFError)
        if isinstance(error, broken) and not isinstance(error, FsrlError):
            reason = str(error).strip().split("\n")[0][:200]
            raise FsrlError(
                f"{shown(self.path)}: cannot be read ({reason}); fetch this file again"
            ) from error


def _check_model(name: str | None, model: Model, path: Path) -> None:
    """A folder's model has no official name to compare, so d_model must do there."""
    if name and model.source.hub and _official(name) != _official(model.source.hub):
        raise FsrlError(
            f"{shown(path)}: this SAE was trained on {name}, but the study's model is {model.source.hub}"
        )


def _official(name: str) -> str:
    """TransformerLens' name of a model: gpt2 for gpt2-small; the name itself where it knows none."""
    return model_fit.official_name(name) or name.removeprefix("openai-community/")


def _counts(path: Path, d_vocab: int) -> Tensor:
    if not path.is_file():
        raise FsrlError(f"token counts: {path} is missing; check token_counts in config/config.yaml")
    with clear_errors(path):
        counts = load_file(path)["count"]
    if counts.shape != (d_vocab,):
        raise FsrlError(f"{path}: count has shape {list(counts.shape)}, the vocabulary has {d_vocab} tokens")
    return counts


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformer-lens", "sae-lens", "transformers")}
