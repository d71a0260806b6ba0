"""One SAE's decoder and densities from its files, in the layouts of `fsrl.models.releases`.

W_dec is what SAELens' own loader would hold, read without the rest of the SAE: a GPT-2 release of 13 SAEs has
1 GB of encoders that the statistics never look at. Configurations go through SAELens, which knows the keys of
every version.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.models import hub_files, releases
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
    """W_dec float32 [d_sae, d_in], divided by `scaling`; hook and model as the configuration names them."""

    W_dec: Tensor
    log10_density: Tensor | None
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


def densities(files: SAEFiles, d_sae: int) -> Tensor | None:
    """log10 densities [d_sae] that a release ships; None, with a warning, where it ships none."""
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


def _float32(tensor: Tensor) -> Tensor:
    return tensor.detach().float().contiguous().clone()
