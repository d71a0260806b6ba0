"""Where a study's weights come from: hub or folder, and which files that means.

Light: nothing here imports torch, and nothing asks the network; `fsrl.models.reading` reads what these name.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fsrl import arguments, hooks
from fsrl.errors import FsrlError
from fsrl.models import hub_files, releases
from fsrl.models.hub_files import HubFile, clear_errors, remedy, shown

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
# The weights in one file, or the list of the files over which they are spread.
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Weights of other frameworks, of variants, and quantised.
OTHER_WEIGHTS = re.compile(
    r"((pytorch_|tf_|flax_)?model\.(bin|h5|msgpack|pt|pth|.+\.safetensors)(\.index\.json)?"
    r"|consolidated\..+|.+\.gguf)$"
)
# Of a tokenizer that was saved without the file.
SLOW_TOKENIZER = ("vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "tokenizer_config.json")
SAVE_AGAIN = "load the model with transformers and save it anew, model.save_pretrained(folder)"
SAVE_TOKENIZER = "load it with transformers and save it anew, tokenizer.save_pretrained(folder)"
# Without this file a tokenizer is still read, from tokenizer.json.
MODEL_EXTRAS = ("tokenizer_config.json",)
SAE_FILES = ("cfg.json", "sae_weights.safetensors")
DENSITY_FILE = "sparsity.safetensors"
# Beside a checkpoint of SAELens' trainer: the activations' norm or whitening, which its weights lack as yet.
SCALER_FILES = ("activation_scaler.json", "activation_whitening.safetensors")
# A model folder's other files that shape what is read (tokenizer, generation settings) end in one of these.
MODEL_SUFFIXES = (".json", ".txt", ".safetensors")


@dataclass(frozen=True)
class ModelSource:
    """A language model in Hugging Face layout: a hub repository, at a revision (None: main), or a folder."""

    hub: str | None = None
    folder: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if (self.hub is None) == (self.folder is None):
            raise FsrlError("a model needs either hub (a repository of the Hugging Face hub) or folder")
        for key, value, met in (
            ("hub", self.hub, isinstance(self.hub, str)),
            ("folder", self.folder, arguments.is_path(self.folder)),
            ("revision", self.revision, isinstance(self.revision, str)),
        ):
            arguments.require(value is None or met, "model", key, value, "give a text")
        if self.folder is not None and self.revision is not None:
            raise FsrlError("a model in a folder has no revision; leave it out")

    @property
    def name(self) -> str:
        """What names the model in tables: the repository, or the folder as it was given."""
        return self.hub or Path(str(self.folder)).as_posix()

    def hub_files(self) -> list[HubFile]:
        """The files to fetch, as far as the cache tells (`fetch` asks until it tells all); none for a folder.

        Raises FsrlError for a repository that is known to have no safetensors.
        """
        if self.hub is None:
            return []
        extras = [self._file(name, required=False) for name in MODEL_EXTRAS]
        return [self._file(CONFIG), *self._weights(), self._file(TOKENIZER), *extras]

    def local_files(self) -> list[Path]:
        """Every file of the folder that is read; FsrlError for the first that is missing. [] for the hub."""
        if self.folder is None:
            return []
        folder = Path(self.folder)
        _exist([folder / CONFIG])
        required = [folder / CONFIG, *weight_files(folder), folder / TOKENIZER]
        slow = next((name for name in SLOW_TOKENIZER if (folder / name).is_file()), None)
        if slow and not required[-1].exists():
            raise FsrlError(f"{required[-1]} is missing, and {slow} is not read instead; {SAVE_TOKENIZER}")
        _exist(required)
        others = [path for path in folder.iterdir() if path.suffix in MODEL_SUFFIXES and path.is_file()]
        return sorted({*required, *others})

    def on_disk(self, name: str) -> Path | None:
        """Where one of the model's files lies on this machine; None where it does not."""
        if self.folder is None:
            return hub_files.cached(HubFile(str(self.hub), name, self.revision))
        path = Path(self.folder) / name
        return path if path.is_file() else None

    def directory(self) -> Path:
        """The folder that holds the files: the one given, or the hub cache's snapshot; FsrlError for none."""
        if self.folder is not None:
            return Path(self.folder)
        path = hub_files.cached(self._file(CONFIG))
        if path is None:
            raise FsrlError(f"{self.hub} is not in the Hugging Face cache")
        return path.parent

    def config(self) -> dict[str, Any] | None:
        """What config.json says; None where it is not there (yet). Raises FsrlError for a broken file."""
        path = self.on_disk(CONFIG)
        return None if path is None else read_json(path)

    def _file(self, name: str, *, required: bool = True) -> HubFile:
        return HubFile(str(self.hub), name, self.revision, required)

    def _weights(self) -> list[HubFile]:
        """Their file; once the repository is known to lack it, the index; once that is here, the shards."""
        whole, index = (self._file(name, required=False) for name in (WEIGHTS, INDEX))
        if hub_files.cached(whole) or hub_files.missing([whole]):
            return [whole]
        if hub_files.missing([index]):
            return [whole, index]
        path = hub_files.cached(index)
        if path is None:
            raise FsrlError(f"{self.hub} has neither {WEIGHTS} nor {INDEX}; {SAVE_AGAIN} and give the folder")
        return [whole, index, *map(self._file, shards(path))]


@dataclass(frozen=True)
class SAESource:
    """Directions to study: SAEs of a SAELens release or in a folder, or a model's own MLP neurons.

    release: its name in SAELens' directory, or a hub repository; folder: holds one folder for each SAE;
    neurons: the number of layers whose rows of W_out are the directions. ids: which SAEs, in order (None:
    all). revision: of the release's repository (None: main).
    """

    release: str | None = None
    folder: str | None = None
    neurons: int | None = None
    ids: tuple[str, ...] | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if [self.release, self.folder, self.neurons].count(None) != 2:
            raise FsrlError("saes needs exactly one of release, folder and neurons")
        if self.revision is not None and self.release is None:
            raise FsrlError("only a release has a revision; leave it out")
        self._check_kinds()
        if self.release is not None and self.ids is not None:
            for sae_id in self.ids:
                self.listed.path(sae_id)

    def _check_kinds(self) -> None:
        """Raise FsrlError for a value that no such setting can have."""
        is_path, ids = arguments.is_path, self.ids
        named = isinstance(ids, tuple | list) and all(isinstance(sae_id, str) for sae_id in ids)
        folder = "" if self.folder is None else self.folder
        right = {
            "release": (isinstance(self.release, str), "give the name of a release"),
            "folder": (is_path(self.folder), "give the path of a folder"),
            "neurons": (arguments.is_whole(self.neurons, 1), "give a number of layers"),
            "revision": (isinstance(self.revision, str), "give a branch, a tag or a commit"),
            "ids": (named, "give a list of names of SAEs"),
        }
        for name, (met, wanted) in right.items():
            value = getattr(self, name)
            arguments.require(value is None or met, "saes", name, value, wanted)
        for sae_id in ids or ():
            arguments.require(is_path(Path(folder, sae_id)), "saes", "one of ids", sae_id, "correct the name")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "SAESource":
        """From `saes` of a study in the config, where ids is a list."""
        ids = settings.get("ids")
        return cls(**{**settings, "ids": tuple(ids) if isinstance(ids, list) else ids})

    @cached_property
    def listed(self) -> releases.Release:
        """The release's entry in SAELens' directory."""
        return releases.find(str(self.release))

    @cached_property
    def sae_ids(self) -> tuple[str, ...]:
        """The SAEs in the order in which figures show them. FsrlError where there is none."""
        if self.ids is not None:
            return self.ids
        if self.neurons is not None:
            return tuple(f"blocks.{layer}.mlp.hook_post" for layer in range(self.neurons))
        if self.release is not None:
            if not self.listed.saes:
                raise FsrlError(
                    f"{self.release} is no release that SAELens lists; name its folders under ids"
                )
            return tuple(self.listed.saes)
        return _saes_in(Path(str(self.folder)))

    def weights_file(self, sae_id: str) -> HubFile:
        """The file of a release that holds this SAE's weights."""
        return self._file(sae_id, self.listed.files.weights)

    def config_file(self, sae_id: str) -> HubFile | None:
        """The file of a release that holds this SAE's configuration; None for a layout without one."""
        files = self.listed.files
        if files.config is None:
            return None
        return self._file(sae_id, files.config, required=not files.inferred)

    def density_file(self, sae_id: str) -> HubFile | None:
        """The file of log10 densities, which the repository may lack; None for a layout without one."""
        density = self.listed.files.density
        return None if density is None else self._file(sae_id, density, required=False)

    def hub_files(self) -> list[HubFile]:
        """The files to fetch; none for a folder or for neurons."""
        if self.release is None:
            return []
        found: list[HubFile | None] = []
        for sae_id in self.sae_ids:
            found += [self.config_file(sae_id), self.weights_file(sae_id), self.density_file(sae_id)]
            for names, required in ((self.listed.files.beside, True), (self.listed.files.optional, False)):
                found += [self._file(sae_id, name, required=required) for name in names]
        # Some layouts have one file for several SAEs.
        return [file for file in dict.fromkeys(found) if file is not None]

    def transcoders(self) -> list[str]:
        """The ids of dictionaries that read another place of the model than they write. The names of a listed
        release tell; of a folder, and of a repository that is none, the files that are here (see `unread`).
        """
        if self.release is not None and self.listed.listed:
            return list(self.sae_ids) if self.listed.transcoders else []
        return [
            sae_id
            for sae_id, path in self._configs().items()
            if path is not None and "transcoder" in str(read_json(path).get("architecture"))
        ]

    def unread(self) -> list[str]:
        """The ids in a repository that is no listed release whose configuration is not in the cache: nobody
        can tell yet whether they are transcoders.
        """
        if self.release is None or self.listed.listed:
            return []
        return [sae_id for sae_id, path in self._configs().items() if path is None]

    def _configs(self) -> dict[str, Path | None]:
        """Where the configuration of each SAE lies that has a file of its own, None where it is not here."""
        if self.folder is not None:
            places = {sae_id: Path(self.folder) / sae_id / SAE_FILES[0] for sae_id in self.sae_ids}
            return {sae_id: path if path.is_file() else None for sae_id, path in places.items()}
        if self.release is None:
            return {}
        files = {sae_id: self.config_file(sae_id) for sae_id in self.sae_ids}
        return {sae_id: None if file is None else hub_files.cached(file) for sae_id, file in files.items()}

    def local_files(self) -> list[Path]:
        """Every file of the folder that is read; FsrlError naming what is missing. [] for hub and neurons."""
        if self.folder is None:
            return []
        folder, found = Path(self.folder), []
        for sae_id in self.sae_ids:
            if folder.is_dir() and not (folder / sae_id).is_dir():
                known = ", ".join(sorted(path.name for path in folder.iterdir()))
                raise FsrlError(f"unknown SAE {sae_id!r} (known: {known or 'none'})")
            required = [folder / sae_id / name for name in SAE_FILES]
            _exist(required)
            extras = [folder / sae_id / name for name in (DENSITY_FILE, *SCALER_FILES)]
            found += [*required, *(path for path in extras if path.is_file())]
        return found

    def _file(self, sae_id: str, pattern: str, *, required: bool = True) -> HubFile:
        path = self.listed.path(sae_id)
        name = pattern.format(path=path, stem=path.split(".pt")[0])
        return HubFile(self.listed.repo, name, self.revision, required)


def _saes_in(folder: Path) -> tuple[str, ...]:
    """Names of the SAEs in a folder, by depth; FsrlError for none, and for one that lacks a file."""
    found = []
    for path in folder.glob("*"):
        here = [name for name in SAE_FILES if (path / name).is_file()]
        if len(here) == len(SAE_FILES):
            found.append(path.name)
        elif here or any(path.glob("*.safetensors")):
            lacking = next(name for name in SAE_FILES if name not in here)
            raise FsrlError(
                f"{path / lacking} is missing, and the folder looks like an SAE; put the file there, move "
                "the folder away, or name the SAEs that you want under ids"
            )
    if not found:
        if (folder / SAE_FILES[0]).is_file():
            raise FsrlError(f"{folder} is an SAE itself; give the folder around it")
        raise FsrlError(f"{folder} holds no folder with {' and '.join(SAE_FILES)}; put the SAEs there")
    return tuple(sorted(found, key=hooks.depth))


def hub_files_of(settings: Mapping[str, Any]) -> list[HubFile]:
    """The files to fetch for `model` and `saes` of a study in the config."""
    model, saes = ModelSource(**settings["model"]), SAESource.from_settings(settings["saes"])
    return model.hub_files() + saes.hub_files()


def fetch(*sources: ModelSource | SAESource) -> list[HubFile]:
    """Bring every file of the sources into the hub's cache, and say which they are (see `hub_files.fetch`).

    In rounds: which files hold a sharded model's weights is known once its index is here.
    """
    while True:
        files = [file for source in sources for file in source.hub_files()]
        if not hub_files.missing(files):
            return files
        hub_files.fetch(files)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights of the model in a folder: one, or the shards of an index.

    Raises FsrlError for a shard that is missing, and for weights in another format.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        found = [folder / name for name in shards(folder / INDEX)]
        _exist(found)
        return found
    if (folder / "adapter_model.safetensors").is_file():
        raise FsrlError(
            f"{folder} holds an adapter (LoRA) and no model; merge it, "
            "model.merge_and_unload().save_pretrained(folder)"
        )
    others = sorted(path.name for path in folder.glob("*") if OTHER_WEIGHTS.match(path.name))
    if others:
        raise FsrlError(f"{folder} has its weights in {others[0]}, which is not read; {SAVE_AGAIN}")
    _exist([folder / WEIGHTS])
    raise AssertionError("what is missing was said")


def shards(index: Path) -> list[str]:
    """Names of the files that an index lists, sorted; FsrlError where it lists none or another folder's."""
    listed = read_json(index).get("weight_map")
    names = list(listed.values()) if isinstance(listed, dict) else []
    if not names or not all(isinstance(name, str) and _is_shard(name) for name in names):
        raise FsrlError(
            f"{shown(index)}: weight_map must name safetensors files beside it; save the model again"
        )
    return sorted(set(names))


def _is_shard(name: str) -> bool:
    return Path(name).name == name and name.endswith(".safetensors")


def read_json(path: Path) -> dict[str, Any]:
    """What a config or an index says; FsrlError where it is no JSON object."""
    with clear_errors(path):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise FsrlError(f"{shown(path)}: holds no JSON object; {remedy(path)}")
    return found


def _exist(paths: Iterable[Path]) -> None:
    for path in paths:
        if not path.is_file():
            raise FsrlError(f"{path} is missing; put the file there or correct the setting")
