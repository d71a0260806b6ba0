"""SAEs from a release or a folder: the decoder alone (`read_sae`), or the whole SAE (`load_sae`).

What the statistics read of an SAE is W_dec and its densities. `read_sae` gives W_dec as SAELens' own loader
would hold it, without reading the rest: a GPT-2 release of 13 SAEs has 1 GB of encoders that the statistics
never look at. Configurations go through SAELens, which knows the keys of every version. Running an SAE inside
a model needs all of it: `load_sae` fetches a release's files first (`fsrl.models.hub_files`), so that a
machine without network knows soon, and checks every file against the hash that the hub announced.
"""

import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float32
from safetensors import safe_open
from torch import Tensor

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.models import hub_files, hub_requests, releases
from fsrl.models.hub_files import clear_errors, shown
from fsrl.models.sources import DENSITY_FILE, SAE_FILES, SAESource

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SAEFiles:
    """Where one SAE's files lie on this machine; density is None where there is none."""

    sae_id: str
    config: Path
    weights: Path
    density: Path | None
    layout: str
    scaling: float | None
    overrides: dict[str, Any]
    release: str
    revision: str

    @classmethod
    def of(cls, source: SAESource, sae_id: str) -> "SAEFiles":
        """The files of `sae_id` in a folder or, already fetched, in the hub's cache."""
        if source.folder is not None:
            folder = Path(source.folder) / sae_id
            density = folder / DENSITY_FILE
            config, weights = (folder / name for name in SAE_FILES)
            return cls(
                sae_id,
                config,
                weights,
                density if density.is_file() else None,
                releases.SAE_LENS,
                None,
                {},
                Path(source.folder).as_posix(),
                "local folder",
            )
        listed = source.listed
        config, weights = (
            hub_files.present(file) for file in (source.config_file(sae_id), source.weights_file(sae_id))
        )
        announced = source.density_file(sae_id)
        return cls(
            sae_id,
            config,
            weights,
            None if announced is None else hub_files.cached(announced),
            listed.layout,
            listed.scaling.get(sae_id),
            listed.overrides,
            listed.name,
            hub_files.commit(weights),
        )


@dataclass(frozen=True, eq=False)
class SAEDecoder:
    """W_dec, divided by `scaling`; hook and model as the configuration names them."""

    W_dec: Float32[Tensor, "d_sae d_in"]
    log10_density: Float32[Tensor, "d_sae"] | None
    hook: str
    model_name: str | None
    scaling: float


def read_sae(files: SAEFiles) -> SAEDecoder:
    """Read one SAE. Warns (once an SAE) where densities are unknown. Raises FsrlError for densities that do
    not fit, and the libraries' exceptions for broken files.
    """
    if files.layout == releases.HOOK_Z_KK:
        config = json.loads(files.config.read_text(encoding="utf-8"))
        stored = torch.load(files.weights, map_location="cpu", weights_only=True, mmap=True)
        return SAEDecoder(
            _float32(stored["W_dec"]), densities(files, 0), config["act_name"], "gpt2-small", 1.0
        )
    config = _sae_lens_config(files)
    with safe_open(files.weights, framework="pt") as opened:
        W_dec = _float32(opened.get_tensor("W_dec"))
    scaling = _scaling(files, config)
    metadata = config["metadata"]
    hook = metadata.get("hook_name") or files.sae_id
    density = densities(files, len(W_dec))
    # SAELens folds the factor of the activations' norm into the weights in the same way.
    return SAEDecoder(W_dec / scaling, density, hook, metadata.get("model_name"), scaling)


def _sae_lens_config(files: SAEFiles) -> dict[str, Any]:
    from sae_lens.loading.pretrained_sae_loaders import (
        get_sae_lens_config_from_disk,
        handle_config_defaulting,
    )

    return handle_config_defaulting(
        get_sae_lens_config_from_disk(files.config.parent, "cpu", dict(files.overrides))
    )


def _scaling(files: SAEFiles, config: dict[str, Any]) -> float:
    if config.get("normalize_activations") != "expected_average_only_in":
        return 1.0
    if files.scaling is None:
        logger.warning(
            "SAE %s: its norm_scaling_factor is unknown, so W_dec stays in units of normalised activations",
            files.sae_id,
        )
        return 1.0
    return files.scaling


def densities(files: SAEFiles, d_sae: int) -> Float32[Tensor, "{d_sae}"] | None:
    """log10 densities that a release ships; None, with a warning, where it ships none.

    Raises FsrlError for densities of another number of features.
    """
    if files.density is None:
        logger.warning("SAE %s of %s ships no densities: log10_density is null", files.sae_id, files.release)
        return None
    with safe_open(files.density, framework="pt") as opened:
        found = _float32(opened.get_tensor("sparsity"))
    if found.shape != (d_sae,):
        raise FsrlError(
            f"{hub_files.shown(files.density)}: sparsity has shape {list(found.shape)}, the SAE has "
            f"{d_sae} features"
        )
    return found


def _float32(tensor: Float[Tensor, "*any"]) -> Float32[Tensor, "*any"]:
    return tensor.detach().float().contiguous().clone()


# SAELens says this of every SAE of a centred model, whatever model it is then used with; `HookedModel` looks.
_CENTRING = r"\s*This SAE has non-empty model_from_pretrained_kwargs"


def load_sae(
    release: str | Path, sae_id: str, *, device: str | torch.device = "cpu", force_download: bool = False
) -> tuple[Any, dict[str, Any], Float32[Tensor, "d_sae"] | None]:
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

    hub_requests.guard()
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
        ) from None
    for place in filter(None, map(hub_files.cached, source.hub_files())):
        hub_files.checked_sha256(place)
    return found
