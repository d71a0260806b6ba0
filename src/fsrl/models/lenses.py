"""Where a published Jacobian lens comes from: a file of the Hugging Face hub, or one on this machine.

Light: which file of a repository is whose stands in the registry of TransformerLens, which is not imported.
`fsrl.transport.lens` reads the file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fsrl.errors import FsrlError
from fsrl.models import hub_files
from fsrl.models.hub_files import HubFile
from fsrl.models.sources import ModelSource

# How a file of the user's is told from a repository.
ENDING = ".pt"
REGISTRY = "tools/analysis/jacobian_lens_registry.json"


@dataclass(frozen=True)
class LensSource:
    """One file, of the hub or of the user's."""

    file: HubFile | Path

    @classmethod
    def of(cls, settings: Mapping[str, Any], model: ModelSource) -> "LensSource":
        """Of a view's `transport` {lens, file, revision}, for a study of `model`.

        lens: a path that ends in .pt, or a repository; file: which of its files, by default the model's.
        FsrlError where the registry has none for the model, and for file or revision beside a path.
        """
        lens, file, revision = (settings.get(name) for name in ("lens", "file", "revision"))
        if str(lens).endswith(ENDING):
            if file is not None or revision is not None:
                raise FsrlError(f"lens: {lens} is a file on this machine; leave out file and revision")
            return cls(Path(str(lens)))
        return cls(HubFile(str(lens), file or _listed(str(lens), model), revision))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "LensSource":
        """The same from `model` of a study and `transport` of a view in the config."""
        return cls.of(settings["transport"], ModelSource(**settings["model"]))

    @property
    def name(self) -> str:
        """What names the lens in tables."""
        return self.file.as_posix() if isinstance(self.file, Path) else str(self.file)

    def hub_files(self) -> list[HubFile]:
        """The file to fetch; none of the user's."""
        return [] if isinstance(self.file, Path) else [self.file]

    def local_files(self) -> list[Path]:
        """The user's file; none of the hub's."""
        return [self.file] if isinstance(self.file, Path) else []

    def path(self) -> Path:
        """Where the file lies on this machine; FsrlError for one of the hub's that was not fetched."""
        return self.file if isinstance(self.file, Path) else hub_files.present(self.file)


def _listed(repo: str, model: ModelSource) -> str:
    """The file of a model in a repository, as the registry has it."""
    known = [entry for entry in _registry().values() if entry["repo_id"] == repo]
    if not known:
        raise FsrlError(
            f"lens: {repo} is no repository that TransformerLens lists; name its file beside it (file: …), "
            f"or give a file on this machine that ends in {ENDING}"
        )
    if model.hub is not None:
        for name, entry in _registry().items():
            if entry["repo_id"] == repo and model.hub in (name, *entry["aliases"]):
                return str(entry["filename"])
    raise FsrlError(
        f"lens: {repo} has no lens of {model.name} that TransformerLens lists; name its file beside it "
        "(file: …), or leave the view out of the study"
    )


@cache
def _registry() -> dict[str, dict[str, Any]]:
    """Short name of a model -> repo_id, filename and aliases of its lens."""
    found = find_spec("transformer_lens")
    path = None if found is None or found.origin is None else Path(found.origin).parent / REGISTRY
    if path is None or not path.is_file():
        raise FsrlError(
            "lens: TransformerLens' registry of lenses is not installed; name the file of the lens"
        )
    listed = json.loads(path.read_text(encoding="utf-8"))
    return {name: entry for name, entry in listed.items() if isinstance(entry, dict)}
