"""SAELens' own directory of releases, read without importing sae_lens (which takes five seconds).

The directory is the file pretrained_saes.yaml of the installed package: for each release the hub repository,
the model and, per SAE, its folder there. A name with a slash that is no release is a hub repository, whose
SAEs lie in folders named by their ids (as SAELens reads it).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from fsrl.errors import FsrlError, did_you_mean

SAE_LENS = "sae_lens"


@dataclass(frozen=True)
class Layout:
    """The files that SAELens' loader of one layout asks the hub for; {path} is the SAE's own path in the
    repository, {stem} that path before ".pt". config: None where the loader knows it from the names alone;
    the repository may lack the density, and the config where `inferred`. beside: what the loader reads
    besides, optional: of which the repository may lack some. transcoder: reads one place of the model and
    writes another. names_model: False where
    the loader knows one model alone, or leaves out whose it is.
    """

    weights: str
    config: str | None = None
    density: str | None = None
    inferred: bool = False
    beside: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    transcoder: bool = False
    names_model: bool = True


CLT = "mntss_clt_layer_transcoder"
# By SAELens' name of the loader (conversion_func).
LAYOUTS = {
    SAE_LENS: Layout("{path}/sae_weights.safetensors", "{path}/cfg.json", "{path}/sparsity.safetensors"),
    "connor_rob_hook_z": Layout("{path}", "{stem}_cfg.json"),
    "gemma_2": Layout("{path}/params.npz"),
    "gemma_3": Layout("{path}/params.safetensors", "{path}/config.json", inferred=True),
    "llama_scope": Layout("{path}/checkpoints/final.safetensors", "{path}/hyperparams.json"),
    "llama_scope_r1_distill": Layout(
        "{path}/sae_weights.safetensors", "{path}/config.json", names_model=False
    ),
    "dictionary_learning_1": Layout("{path}/ae.pt", "{path}/config.json", names_model=False),
    "deepseek_r1": Layout("{path}"),
    "qwen_scope": Layout("{path}"),
    "goodfire": Layout("{path}"),
    "temporal": Layout("{path}/latest_ckpt.safetensors", "{path}/conf.yaml"),
    "gemma_2_transcoder": Layout("{path}/params.npz", transcoder=True),
    "mwhanna_transcoder": Layout(
        "{path}",
        "wandb-config.yaml",
        inferred=True,
        optional=("wanb-config.yaml", "config.yaml"),  # SAELens: some repositories spell the first so
        transcoder=True,
    ),
    # One decoder for each later layer, all in one file.
    CLT: Layout(
        "W_dec_{path}.safetensors", "config.yaml", beside=("W_enc_{path}.safetensors",), transcoder=True
    ),
}
# Of gemma_3 it is the path that says which are transcoders.
TRANSCODER_PATHS = ("transcoder", "clt")


@dataclass(frozen=True)
class Release:
    """One release: saes maps ids to folders (or files) of the repository; scaling holds SAELens'
    norm_scaling_factor for the SAEs that have one; model is the name that the release gives, "" if unknown.
    targets: of the dictionaries of a cross-layer transcoder the layer that each writes to (see `find`).
    """

    name: str
    repo: str
    model: str
    layout: str
    saes: dict[str, str]
    scaling: dict[str, float]
    overrides: dict[str, Any]
    targets: dict[str, int] = field(default_factory=dict)

    @property
    def listed(self) -> bool:
        """Is it in SAELens' directory (which names a model for each release), or a repository of the hub?"""
        return bool(self.model)

    @property
    def files(self) -> Layout:
        """The names of its files."""
        return LAYOUTS[self.layout]

    @property
    def transcoders(self) -> bool:
        """Does it hold transcoders, which read one place of the model and write another?"""
        named = any(word in path for path in self.saes.values() for word in TRANSCODER_PATHS)
        return self.files.transcoder or (self.layout == "gemma_3" and named)

    def path(self, sae_id: str) -> str:
        """Where in the repository this SAE lies; FsrlError with the ids that there are."""
        if not self.listed:
            return sae_id
        if sae_id not in self.saes:
            raise _unknown_sae(self.name, sae_id, self.saes)
        return self.saes[sae_id]


def find(name: str) -> Release:
    """The release of this name; FsrlError where there is none, and for one that fsrl does not read: asked
    of the directory alone, so before anything is fetched.

    A feature of a cross-layer transcoder reads one layer and writes with one decoder to it and to each later
    one. SAELens lists it by the layer that it reads, "layer_3", and adds its decoders up; here each is a
    dictionary of its own, "layer_3_to_7".
    """
    entry = _entry(name)
    if entry is None:
        return Release(name, name, "", SAE_LENS, {}, {}, {})
    layout = entry.get("conversion_func") or SAE_LENS
    if layout not in LAYOUTS:
        raise FsrlError(
            f"release {name} has the layout {layout}, and fsrl reads {', '.join(LAYOUTS)}. Load it with "
            "SAELens, save it with sae.save_model(folder) and give the folder as saes: {folder: ...}"
        )
    # Some are numbers.
    paths = {sae["id"]: str(sae["path"]) for sae in entry["saes"]}
    targets: dict[str, int] = {}
    if layout == CLT:
        paths, targets = _by_target(paths)
    return Release(
        name,
        entry["repo_id"],
        entry["model"],
        layout,
        paths,
        {sae["id"]: sae["norm_scaling_factor"] for sae in entry["saes"] if "norm_scaling_factor" in sae},
        entry.get("config_overrides") or {},
        targets,
    )


def names() -> list[str]:
    """The names of all releases that SAELens' directory lists, in its order."""
    return list(_directory()[1])


@cache
def facts(name: str) -> Mapping[str, Any]:
    """What the directory says of a listed release, as it says it; FsrlError where it lists none."""
    entry = _entry(name)
    if entry is None:
        raise FsrlError(f"{name} is no release that SAELens lists")
    return entry


def _by_target(paths: Mapping[str, str]) -> tuple[dict[str, str], dict[str, int]]:
    """Paths and layers written to of a cross-layer transcoder's dictionaries; every layer is read by one."""
    found = {
        f"{sae_id}_to_{target}": (path, target)
        for sae_id, path in paths.items()
        for target in range(int(path), len(paths))
    }
    return {name: path for name, (path, _) in found.items()}, {
        name: target for name, (_, target) in found.items()
    }


@cache
def neuronpedia_ids(name: str) -> Mapping[str, str | None] | None:
    """Of every SAE of a release its place at Neuronpedia, "gpt2-small/7-res-jb", or None where it has none.

    Releases that fsrl cannot read are known here too; None for a repository of the hub. The dictionaries of a
    cross-layer transcoder are not there: Neuronpedia's are of all its decoders together. Raises FsrlError for
    an unknown release.
    """
    entry = _entry(name)
    if entry is None:
        return None
    if entry.get("conversion_func") == CLT:
        return dict.fromkeys(find(name).saes)
    return {sae["id"]: sae.get("neuronpedia") for sae in entry["saes"]}


def neuronpedia_id(name: str, sae_id: str) -> str | None:
    """The place at Neuronpedia of one SAE; None where it is not there. FsrlError for an unknown SAE too."""
    ids = neuronpedia_ids(name)
    if ids is None:
        return None
    if sae_id not in ids:
        raise _unknown_sae(name, sae_id, ids)
    return ids[sae_id]


def is_listed(name: object) -> bool:
    """Whether SAELens' directory has a release of this name."""
    return name in _directory()[1]


def _entry(name: str) -> Any:
    """What the directory says of a release; None for a repository of the hub. FsrlError for neither."""
    text, places = _directory()
    if name in places:
        return _parse(text[places[name]])[name]
    if "/" in name:
        return None
    raise FsrlError(f"unknown release {name!r}{_known(name, places)}")


@cache
def _directory() -> tuple[str, dict[str, slice]]:
    """The directory's text, and where in it each release stands: parsing all of it takes half a second, and
    every job of the workflow reads the catalogue of studies.
    """
    spec = find_spec("sae_lens")
    if spec is None or spec.origin is None:
        raise FsrlError("sae-lens is not installed; `make reproduce` installs what requirements.lock lists")
    text = Path(spec.origin).with_name("pretrained_saes.yaml").read_text(encoding="utf-8")
    starts = list(re.finditer(r"^([^\s#:][^:\n]*):", text, re.MULTILINE))
    ends = [*(match.start() for match in starts[1:]), len(text)]
    return text, {match[1]: slice(match.start(), end) for match, end in zip(starts, ends, strict=True)}


def _parse(text: str) -> Any:
    # The pure Python loader takes seconds for the largest releases.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _unknown_sae(name: str, sae_id: str, known: Iterable[str]) -> FsrlError:
    return FsrlError(f"release {name}: unknown SAE {sae_id!r}{_known(sae_id, known)}")


def _known(name: str, names: Iterable[str]) -> str:
    names = list(names)
    some = ", ".join(names[:30])
    return f"{did_you_mean(name, names)} (known: {some}{', ...' if len(names) > 30 else ''})"
