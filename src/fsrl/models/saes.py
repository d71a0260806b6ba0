"""SAEs and transcoders from a release or a folder, whole, through SAELens.

Whatever the layout, SAELens' own loader parses it; here its files are looked up (in a folder, or in the hub's
cache at the commit that was fetched: nothing is asked of the network), the configuration is checked
(`sae_config`), what SAELens leaves out is folded into the weights, and every number must be finite:

    scaling_factor (finetuning)       W_dec[i] *= scaling_factor[i]
    norm or whitening of activations  SAELens' own fold, with the factor of the release or of the checkpoint

`load_sae` is for running an SAE inside a model: it fetches a release's files first (`fsrl.models.hub_files`),
so that a machine without network knows soon, and checks every file against the hash that the hub announced.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, Shaped
from safetensors import safe_open
from torch import Tensor

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.models import hub_files, releases, sae_config, sae_tensors, stored
from fsrl.models.hub_files import shown
from fsrl.models.sae_files import SAEFiles
from fsrl.models.sae_lookup import ANEW, from_cache
from fsrl.models.sources import SCALER_FILES, SAESource

logger = logging.getLogger(__name__)

# log10 density that SAELens writes for a feature that never fired, log10(0 + 1e-10).
NEVER = -10.0


@dataclass(frozen=True, eq=False)
class LoadedSAE:
    """sae: float32 on the CPU, for activations as the model has them; config: as SAELens gives it; scaling:
    the norm factor that W_dec was divided by (1: none).
    """

    sae: Any
    config: dict[str, Any]
    scaling: float


def load(files: SAEFiles) -> LoadedSAE:
    """One SAE, whole and checked. Raises FsrlError, naming the file, for a broken or contradictory one, a
    tensor that is missing, left over, of another shape or not finite, and what `sae_config` refuses.
    """
    from sae_lens import SAE

    given, config, empty = _configured(files)

    def converter(path: Any, device: str, cfg_overrides: Any) -> Any:
        return given, tensors

    with naming(files.weights), _quiet():
        sae_tensors.check_stored(files.weights, remedy(files.weights))
        tensors = _checked(files, given, empty, _tensors(files, given))
        sae = SAE.load_from_disk(files.weights.parent, converter=converter).eval()
    scaling = _fold_normalisation(files, sae)
    return LoadedSAE(sae, {**config, "normalize_activations": sae.cfg.normalize_activations}, scaling)


def _configured(files: SAEFiles) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """The configuration, checked; the same with the defaults; the SAE without weights."""
    from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting
    from sae_lens.registry import get_sae_class

    if files.config is not None and files.config.suffix == ".json":
        sae_config.check_json(files.config, files.settings, remedy(files.config))
    with naming(files.config or files.weights):
        given = _given_config(files)
    given = sae_config.Checker(given, files.settings).check()
    with naming(files.config or files.weights), _quiet():
        config = handle_config_defaulting(given)
        kind, settings = get_sae_class(config["architecture"])
        return given, config, kind(settings.from_dict({**config, "device": "meta"}))


def written_hook(files: SAEFiles) -> str | None:
    """Where one SAE writes, by its configuration alone; None where it says nothing. Errors as of `load`."""
    metadata = _configured(files)[2].cfg.metadata
    hook: str | None = metadata.hook_name_out or metadata.hook_name
    return hook


def densities(files: SAEFiles, d_sae: int) -> Float32[Tensor, "{d_sae}"] | None:
    """log10 densities that a release ships; None, with a warning, where it ships none.

    Raises FsrlError for a broken file, and for what `known_densities` refuses.
    """
    if files.density is None:
        logger.warning("SAE %s of %s ships no densities: log10_density is null", files.sae_id, files.release)
        return None
    with naming(files.density), safe_open(files.density, framework="pt") as opened:
        found = opened.get_tensor("sparsity")
    return known_densities(found, d_sae, shown(files.density))


def known_densities(given: Shaped[Tensor, "*any"], d_sae: int, place: str) -> Float32[Tensor, "{d_sae}"]:
    """log10 densities, float32: -inf (never fired) is NEVER, NaN stays unknown.

    place: how errors name them. Raises FsrlError for another number of features, for what is no
    floating point, and for a share above 1.
    """
    if given.shape != (d_sae,):
        raise FsrlError(
            f"{place}: sparsity has shape {list(given.shape)}, the SAE has {d_sae} features; give one for "
            "each, or no such file"
        )
    if not given.is_floating_point():
        raise FsrlError(f"{place}: sparsity holds {given.dtype}; give log10 of the shares as floating point")
    # float32 first: what is below its range never fired.
    given = given.float()
    if (above := given > 1e-3).any():
        at = int(above.int().argmax())
        raise FsrlError(
            f"{place}: sparsity is {given[at].item():.3g} at [{at}], and log10 of a share is at most 0; "
            "give log10 of the shares, or none"
        )
    return given.masked_fill(given == -torch.inf, NEVER)


def remedy(path: Path) -> str:
    """What to do about a broken file."""
    return hub_files.remedy(path, ANEW)


def naming(path: Path) -> AbstractContextManager[None]:
    """Turns whatever SAELens raises on a broken file into one line that names it, with a remedy."""
    return hub_files.clear_errors(path, ANEW)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without SAELens' warnings: on every SAE of a centred model, whatever model it is then used with, and of
    decoders that it adds up, of which one is read here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This loads the CLT layer as a single layer transcoder")
        warnings.filterwarnings("ignore", r"\s*This SAE has non-empty model_from_pretrained_kwargs")
        yield


def _overrides(files: SAEFiles) -> dict[str, Any]:
    """What stands before the files: SAELens' directory, and that all is float32 on the CPU."""
    here = {"device": "cpu", "dtype": "float32"}
    if files.source.folder is not None:
        return here
    listed = files.source.listed
    ids = releases.neuronpedia_ids(listed.name) or {}
    known = {"neuronpedia_id": ids[files.sae_id]} if files.sae_id in ids else {}
    return {**listed.overrides, **known, **here}


def _layout(files: SAEFiles) -> str:
    return releases.SAE_LENS if files.source.folder is not None else files.source.listed.layout


def _given_config(files: SAEFiles) -> dict[str, Any]:
    """The configuration before defaults are filled in."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    layout, overrides = _layout(files), _overrides(files)
    if layout == releases.SAE_LENS:
        given = loaders.get_sae_lens_config_from_disk(files.weights.parent, "cpu", overrides)
        # SAELens puts what its directory says of a release at the top; it stands before what the file says.
        if isinstance(metadata := given.get("metadata"), dict):
            given["metadata"] = {name: value for name, value in metadata.items() if name not in overrides}
        return given
    listed = files.source.listed
    getter = loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[layout]
    with from_cache(files):
        given = getter(listed.repo, listed.path(files.sae_id), "cpu", False, overrides)
    if files.target is not None:
        given["hook_name_out"] = re.sub(r"(?<=^blocks\.)\d+", str(files.target), given["hook_name_out"])
    return given


def _tensors(files: SAEFiles, given: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors, by SAELens' loader of the layout."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    layout = _layout(files)
    if layout == releases.SAE_LENS:
        config = {"finetuning_scaling_factor": False, **given}  # it is looked up where the tensor is there
        return loaders.read_sae_components_from_disk(config, files.weights)[1]
    listed = files.source.listed
    with from_cache(files):
        loader = loaders.NAMED_PRETRAINED_SAE_LOADERS[layout]
        return loader(listed.repo, listed.path(files.sae_id), "cpu", False, _overrides(files))[1]


def _checked(
    files: SAEFiles, given: dict[str, Any], empty: Any, tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors, finite and of the shape that the configuration says, with scaling_factor in W_dec; empty:
    the SAE that is to hold them, on the meta device.
    """
    place = shown(files.weights)
    written = "d_out" if hasattr(empty.cfg, "d_out") else "d_in"
    expected = [empty.cfg.d_sae, getattr(empty.cfg, written)]
    if "W_dec" in tensors and list(tensors["W_dec"].shape) != expected:
        raise FsrlError(
            f"{place}: W_dec has shape {list(tensors['W_dec'].shape)}, but d_sae and {written} of "
            f"{files.settings} are {expected}; the two files belong to different SAEs"
        )
    if (
        given.get("finetuning_scaling_factor")
        and "finetuning_scaling_factor" not in tensors
        and _layout(files) == releases.SAE_LENS
        and "scaling_factor" not in {tensor.name for tensor in stored.tensors(files.weights)}
    ):
        raise FsrlError(
            f"{files.settings}: finetuning_scaling_factor is true, but {place} has no tensor "
            "scaling_factor; set it to false if the factor is in W_dec already"
        )
    factor = None
    if given.get("finetuning_scaling_factor"):
        factor = tensors.pop("finetuning_scaling_factor", None)
    sae_tensors.check(place, tensors, factor, empty, remedy(files.weights))
    rescaled = getattr(empty.cfg, "rescale_acts_by_decoder_norm", False)
    if rescaled:
        sae_tensors.check_norms(place, tensors["W_dec"])
    if factor is not None:
        if rescaled:
            raise FsrlError(f"{place}: scaling_factor and rescale_acts_by_decoder_norm exclude each other")
        tensors["W_dec"] = tensors["W_dec"] * factor[:, None]
    return tensors


def _fold_normalisation(files: SAEFiles, sae: Any) -> float:
    """Fold the norm or whitening of the SAE's activations into its weights; the factor of the norm, or 1."""
    kind = sae.cfg.normalize_activations
    if kind not in ("expected_average_only_in", "covariance_whitening"):
        return 1.0
    factor, whitening, place = None, None, files.weights
    if files.source.folder is None:
        factor = files.source.listed.scaling.get(files.sae_id)
    elif (path := files.weights.with_name(SCALER_FILES[0])).is_file():
        from sae_lens.training.activation_scaler import ActivationScaler

        scaler, place = ActivationScaler(), path
        with naming(path):
            scaler.load(path)
        factor, whitening = scaler.scaling_factor, scaler.whitening
        if factor is not None and not (arguments.is_number(factor) and factor > 0):
            raise FsrlError(f"{path}: scaling_factor is {factor!r}; give a number above 0")
    try:
        with naming(place):
            if kind == "covariance_whitening" and whitening is not None:
                sae.fold_activation_whitening(whitening.mean, whitening.matrix, whitening.inverse_matrix)
                return 1.0
            if kind == "expected_average_only_in" and factor is not None:
                sae.fold_activation_norm_scaling_factor(factor)
                return float(factor)
    except FsrlError as error:
        if not isinstance(error.__cause__, NotImplementedError):
            raise
        raise FsrlError(
            f"{files.settings}: normalize_activations is {kind}, which SAELens cannot fold into the weights "
            f"of a {sae.cfg.architecture()} SAE; give one of another architecture or normalisation"
        ) from None
    raise FsrlError(
        f"{files.settings}: normalize_activations is {kind}, and what it scales activations by is not known: "
        f"put SAELens' {' and '.join(SCALER_FILES)} beside it, or fold it into the weights "
        "(sae.fold_activation_norm_scaling_factor, fold_activation_whitening) and save the SAE again"
    )


def load_sae(
    release: str | Path, sae_id: str, *, device: str | torch.device = "cpu", force_download: bool = False
) -> tuple[Any, dict[str, Any], Float32[Tensor, "d_sae"] | None]:
    """(SAE, its configuration, log10 densities or None), float32, on `device`.

    release: a release that SAELens lists, a repository of the hub, or a folder that holds one folder for
    each SAE; a listed release goes before a folder of the same name (a Path is always a folder).
    force_download fetches a release's files again. Raises FsrlError for an unknown release or SAE, a device
    that is not here (before anything is read), a missing or broken file, what `sae_config` refuses, and a hub
    that cannot be reached.
    """
    arguments.require(arguments.is_path(release), "SAE", "release", release, "give a release or a folder")
    arguments.require(isinstance(sae_id, str), "SAE", "sae_id", sae_id, "give the SAE's name in its release")
    device = arguments.device(device, "SAE")
    source = source_of(release, sae_id)
    if source.folder is not None:
        source.local_files()
    elif force_download:
        _fetch_again(source, sae_id)
    else:
        hub_files.fetch(source.hub_files())
    files = SAEFiles.of(source, sae_id)
    if source.folder is None:
        hub_files.checked_sha256(files.weights)
    loaded = load(files)
    density = None if files.density is None else densities(files, loaded.sae.cfg.d_sae)
    sae = loaded.sae.to(device=device)
    return sae, {**loaded.config, "device": str(device)}, None if density is None else density.to(device)


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


def _fetch_again(source: SAESource, sae_id: str) -> None:
    files = source.hub_files()
    try:
        hub_files.fetch_again(files)
    except FsrlError as error:
        if hub_files.missing(files):
            raise
        raise FsrlError(
            f"{sae_id} of {source.release} cannot be fetched again: {error}. Leave force_download out to use "
            "what is on this machine"
        ) from None
