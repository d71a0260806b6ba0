"""SAELens' own directory of releases, read without importing sae_lens (which takes five seconds).

The directory is the file pretrained_saes.yaml of the installed package: for each release the hub repository,
the model and, per SAE, its folder there. A name with a slash that is no release is a hub repository, whose
SAEs lie in folders named by their ids (as SAELens reads it).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    the repository may lack the density, and the config where `inferred`.
    """

    weights: str
    config: str | None = None
    density: str | None = None
    inferred: bool = False


# By SAELens' name of the loader (conversion_func).
LAYOUTS = {
    SAE_LENS: Layout("{path}/sae_weights.safetensors", "{path}/cfg.json", "{path}/sparsity.safetensors"),
    "connor_rob_hook_z": Layout("{path}", "{stem}_cfg.json"),
    "gemma_2": Layout("{path}/params.npz"),
    "gemma_3": Layout("{path}/params.safetensors", "{path}/config.json", inferred=True),
    "llama_scope": Layout("{path}/checkpoints/final.safetensors", "{path}/hyperparams.json"),
    "llama_scope_r1_distill": Layout("{path}/sae_weights.safetensors", "{path}/config.json"),
    "dictionary_learning_1": Layout("{path}/ae.pt", "{path}/config.json"),
    "deepseek_r1": Layout("{path}"),
    "qwen_scope": Layout("{path}"),
    "goodfire": Layout("{path}"),
    "temporal": Layout("{path}/latest_ckpt.safetensors", "{path}/conf.yaml"),
}
# Loaders of transcoders; of gemma_3 it is the path that says so.
TRANSCODERS = ("gemma_2_transcoder", "mwhanna_transcoder", "mntss_clt_layer_transcoder")
TRANSCODER_PATHS = ("transcoder", "clt")


@dataclass(frozen=True)
class Release:
    """One release: saes maps ids to folders (or files) of the repository; scaling holds SAELens'
    norm_scaling_factor for the SAEs that have one; model is the name that the release gives, "" if unknown.
    """

    name: str
    repo: str
    model: str
    layout: str
    saes: dict[str, str]
    scaling: dict[str, float]
    overrides: dict[str, Any]

    @property
    def listed(self) -> bool:
        """Is it in SAELens' directory (which names a model for each release), or a repository of the hub?"""
        return bool(self.model)

    @property
    def files(self) -> Layout:
        """The names of its files."""
        return LAYOUTS[self.layout]

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
    """
    entry = _entry(name)
    if entry is None:
        return Release(name, name, "", SAE_LENS, {}, {}, {})
    layout = entry.get("conversion_func") or SAE_LENS
    paths = {sae["id"]: str(sae["path"]) for sae in entry["saes"]}
    by_path = [path for path in paths.values() if any(word in path for word in TRANSCODER_PATHS)]
    if layout in TRANSCODERS or (layout == "gemma_3" and by_path):
        raise FsrlError(
            f"release {name} holds transcoders, which read one place of the model and write another; fsrl "
            "reads SAEs, which reconstruct what they read: choose a release of SAEs"
        )
    if layout not in LAYOUTS:
        raise FsrlError(
            f"release {name} has the layout {layout}, and fsrl reads {', '.join(LAYOUTS)}. Load it with "
            "SAELens, save it with sae.save_model(folder) and give the folder as saes: {folder: ...}"
        )
    return Release(
        name,
        entry["repo_id"],
        entry["model"],
        layout,
        paths,
        {sae["id"]: sae["norm_scaling_factor"] for sae in entry["saes"] if "norm_scaling_factor" in sae},
        entry.get("config_overrides") or {},
    )


@cache
def neuronpedia_ids(name: str) -> Mapping[str, str | None] | None:
    """Of every SAE of a release its place at Neuronpedia, "gpt2-small/7-res-jb", or None where it has none.

    Releases that fsrl cannot read are known here too; None for a repository of the hub. Raises FsrlError for
    an unknown release.
    """
    entry = _entry(name)
    return None if entry is None else {sae["id"]: sae.get("neuronpedia") for sae in entry["saes"]}


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
