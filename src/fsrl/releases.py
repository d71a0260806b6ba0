"""SAELens' own directory of releases, read without importing sae_lens (which takes five seconds).

The directory is the file pretrained_saes.yaml of the installed package: for each release the hub repository,
the model and, per SAE, its folder there. A name with a slash that is no release is a hub repository, whose
SAEs lie in folders named by their ids (as SAELens reads it).
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from fsrl.errors import FsrlError

# Layouts of a release (SAELens' conversion_func) that `fsrl.hub` reads.
SAE_LENS, HOOK_Z_KK = "sae_lens", "connor_rob_hook_z"
LAYOUTS = (SAE_LENS, HOOK_Z_KK)


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

    def path(self, sae_id: str) -> str:
        """Where in the repository this SAE lies; FsrlError with the ids that there are."""
        if not self.model:
            return sae_id
        if sae_id not in self.saes:
            raise FsrlError(f"release {self.name}: unknown SAE {sae_id!r}{_known(sae_id, self.saes)}")
        return self.saes[sae_id]


def find(name: str) -> Release:
    """The release of this name; FsrlError where there is none, or where fsrl cannot read its layout."""
    text, places = _directory()
    if name not in places:
        if "/" in name:
            return Release(name, name, "", SAE_LENS, {}, {}, {})
        raise FsrlError(f"unknown release {name!r}{_known(name, places)}")
    entry = _parse(text[places[name]])[name]
    layout = entry.get("conversion_func") or SAE_LENS
    if layout not in LAYOUTS:
        raise FsrlError(
            f"release {name} has the layout {layout}, and fsrl reads {' and '.join(LAYOUTS)}. Load it with "
            "SAELens, save it with sae.save_model(folder) and give the folder as saes: {folder: ...}"
        )
    return Release(
        name,
        entry["repo_id"],
        entry["model"],
        layout,
        {sae["id"]: str(sae["path"]) for sae in entry["saes"]},
        {sae["id"]: sae["norm_scaling_factor"] for sae in entry["saes"] if "norm_scaling_factor" in sae},
        entry.get("config_overrides") or {},
    )


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
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _known(name: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    some = ", ".join(names[:30])
    return f"{hint} (known: {some}{', ...' if len(names) > 30 else ''})"
