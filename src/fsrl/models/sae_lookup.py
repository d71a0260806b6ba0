"""SAELens' loaders on files that were fetched: they find them in the hub's cache, at that commit, and ask
nothing of the network.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import safe_open
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.models import hub_files, stored
from fsrl.models.hub_files import HubFile, shown
from fsrl.models.sae_files import SAEFiles

# What to do about a broken SAE.
ANEW = "save the SAE again (sae.save_model)"
# SAELens' loaders look files up by a name of their module, which one thread at a time replaces.
_LOOKING_UP = threading.Lock()


@contextmanager
def from_cache(files: SAEFiles) -> Iterator[None]:
    """Within, SAELens' loaders find a repository's files where they were fetched to, at that revision, and
    read shapes from them; else they would ask the hub, for the branch main.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def look_up(repo_id: str, filename: str, subfolder: str | None = None, **_: Any) -> str:
        """For huggingface_hub.hf_hub_download: the file's path, or the error of a file that is not there."""
        path = filename if subfolder is None else f"{subfolder}/{filename}"
        found = hub_files.cached(HubFile(repo_id, path, files.source.revision))
        if found is None:
            raise LocalEntryNotFoundError(f"{repo_id} has no {path}")
        return str(found)

    own = loaders.load_safetensors_weights

    def load_weights(path: str, *settings: Any, **named: Any) -> dict[str, Tensor]:
        """For SAELens' reader of a file: of a cross-layer transcoder's decoders the one to our layer."""
        if files.target is not None and Path(path) == files.weights:
            return _one_decoder(files, files.target)
        return own(path, *settings, **named)

    def shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        """For SAELens' reader of a header on the hub: {tensor: shape}."""
        return {tensor.name: tensor.shape for tensor in stored.tensors(look_up(repo_id, filename))}

    functions = {"hf_hub_download": look_up, "get_safetensors_tensor_shapes": shapes}
    with _LOOKING_UP, _standing_in(loaders, **functions, load_safetensors_weights=load_weights):
        yield


def _one_decoder(files: SAEFiles, target: int) -> dict[str, Tensor]:
    """The decoder to one layer [d_sae, 1, d_out] of those that a layer's features have, as the loader adds
    them up: of 26 layers with 98,304 features all are 23 GB. FsrlError for another number of them.
    """
    layer = int(files.source.listed.path(files.sae_id))
    layers = 1 + max(files.source.listed.targets.values())
    name = f"W_dec_{layer}"
    with safe_open(files.weights, framework="pt") as opened:
        part = opened.get_slice(name)
        if len(part.get_shape()) != 3 or part.get_shape()[1] != layers - layer:
            raise FsrlError(
                f"{shown(files.weights)}: {name} has shape {part.get_shape()}, expected decoders to the "
                f"{layers - layer} layers from {layer} on, [d_sae, {layers - layer}, d_model]; "
                f"{hub_files.remedy(files.weights, ANEW)}"
            )
        return {name: part[:, target - layer : target - layer + 1].float()}


@contextmanager
def _standing_in(module: ModuleType, **functions: Any) -> Iterator[None]:
    """Within, these functions stand for a module's own of the same names: SAELens' loaders take no argument
    that says where files lie. Raises AttributeError for a name that the module lacks.
    """
    own = {name: getattr(module, name) for name in functions}
    vars(module).update(functions)
    try:
        yield
    finally:
        vars(module).update(own)
