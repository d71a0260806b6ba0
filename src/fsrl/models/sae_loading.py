"""Whole SAEs, encoder included, from a release or from a folder, as SAELens loads them.

The analysis path needs an SAE's decoder only (`fsrl.models.sae_files`); running one inside a model needs all
of it. Files of a release are fetched by `fsrl.models.hub_files` first, so that a machine without network
knows soon, and every file is checked against the hash that the hub announced.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.models import hub_files, releases
from fsrl.models.hub_files import shown
from fsrl.models.reading import clear_errors
from fsrl.models.sae_files import SAEFiles
from fsrl.models.sources import SAESource

# SAELens says this of every SAE of a centred model, whatever model it is then used with; `HookedModel` looks.
_CENTRING = r"\s*This SAE has non-empty model_from_pretrained_kwargs"


def load_sae(
    release: str | Path, sae_id: str, *, device: str | torch.device = "cpu", force_download: bool = False
) -> tuple[Any, dict[str, Any], Tensor | None]:
    """(SAE, its configuration, log10 densities or None), float32, on `device`.

    release: a release that SAELens lists, a repository of the hub, or a folder that holds one folder for
    each SAE; a listed release goes before a folder of the same name (a Path is always a folder).
    force_download fetches a release's files again. Raises FsrlError for an unknown release or SAE, a device
    that is not here (before anything is read), a missing or broken file, and a hub that cannot be reached.
    """
    arguments.require(arguments.is_path(release), "SAE", "release", release, "give a release or a folder")
    arguments.require(isinstance(sae_id, str), "SAE", "sae_id", sae_id, "give the SAE's name in its release")
    device = arguments.device(device, "SAE")
    source = source_of(release, sae_id)
    if source.folder is not None:
        source.local_files()
    elif not force_download:
        hub_files.fetch(source.hub_files())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_CENTRING, category=UserWarning)
        sae, config, density = _load(source, sae_id, force_download)
        sae = sae.to(device=device)
    if density is not None and density.shape != (sae.cfg.d_sae,):
        raise FsrlError(
            f"{sae_id} of {release}: sparsity has shape {list(density.shape)}, the SAE has {sae.cfg.d_sae} "
            "features"
        )
    return sae, {**config, "device": str(device)}, None if density is None else density.to(device)


def is_folder(release: str | Path) -> bool:
    """Whether `load_sae` takes it for a folder of this machine: any Path, and a folder that is no release."""
    if isinstance(release, Path) or not Path(release).is_dir():
        return isinstance(release, Path)
    try:
        return not releases.find(release).listed
    except FsrlError:
        return True


def source_of(release: str | Path, sae_id: str) -> SAESource:
    """Where one SAE is read from: a folder of this machine, or a release."""
    if is_folder(release):
        return SAESource(folder=str(release), ids=(sae_id,))
    return SAESource(release=str(release), ids=(sae_id,))


def _load(source: SAESource, sae_id: str, force: bool) -> tuple[Any, dict[str, Any], Tensor | None]:
    from sae_lens import SAE

    if source.folder is not None:
        return _from_folder(SAEFiles.of(source, sae_id))
    if force:
        return _fetched_again(source, sae_id)
    files = SAEFiles.of(source, sae_id)
    hub_files.checked_sha256(files.weights)
    with clear_errors(files.weights):
        return SAE.from_pretrained_with_cfg_and_sparsity(str(source.release), sae_id)


def _from_folder(files: SAEFiles) -> tuple[Any, dict[str, Any], Tensor | None]:
    from sae_lens import SAE
    from sae_lens.loading.pretrained_sae_loaders import (
        get_sae_lens_config_from_disk,
        handle_config_defaulting,
    )

    folder = files.config.parent
    with clear_errors(files.weights):
        config = handle_config_defaulting(get_sae_lens_config_from_disk(folder, "cpu", {"dtype": "float32"}))
        sae = SAE.load_from_disk(folder, device="cpu", dtype="float32")
    if config.get("normalize_activations") == "expected_average_only_in":
        warnings.warn(
            f"{shown(files.config)}: the SAE expects activations of a known average norm, and the factor is "
            "not in this file; scale it with sae.fold_activation_norm_scaling_factor(factor)",
            stacklevel=4,
        )
    if files.density is None:
        return sae, config, None
    with clear_errors(files.density), safe_open(files.density, framework="pt") as opened:
        return sae, config, opened.get_tensor("sparsity").float()


def _fetched_again(source: SAESource, sae_id: str) -> tuple[Any, dict[str, Any], Tensor | None]:
    from sae_lens import SAE

    try:
        found = SAE.from_pretrained_with_cfg_and_sparsity(str(source.release), sae_id, force_download=True)
    except Exception as error:
        # Without a hub huggingface_hub raises a ValueError here; the HTTP library's own errors are not public
        # and known by their base's name.
        if not {kind.__name__ for kind in type(error).__mro__} & {"OSError", "TransportError", "ValueError"}:
            raise
        reason = str(error).strip().split("\n")[0][:200]
        raise FsrlError(
            f"{sae_id} of {source.release} cannot be fetched again ({type(error).__name__}: {reason}); leave "
            "force_download out to use what is on this machine"
        ) from error
    hub_files.checked_sha256(hub_files.present(source.weights_file(sae_id)))
    return found
