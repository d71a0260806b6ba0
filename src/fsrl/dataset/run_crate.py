"""The RO-Crate of a run: its files with their hashes, what made them, of which weights, with which versions.

A crate in the project's folder, by the profiles Workflow RO-Crate and Process Run Crate
(https://w3id.org/ro/crate): the workflow, its settings and every file that it made, each with size and
SHA-256; the config as all of its files and the command line made it; an action for each script with its
results; and, from the tables' own metadata, the weights (by SHA-256), the libraries and the devices that
each table comes from. Written by rocrate, imported here alone.

(snakemake-report-plugin-fairscape 0.1.0 was tried: it hashes no file, names whoever runs it and absolute
paths, and has a licence of its own choice.)
"""

import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from fsrl import files, plain
from fsrl.dataset.merge import public
from fsrl.errors import FsrlError
from fsrl.tables import core

NAME = "ro-crate-metadata.json"
# What of a table's metadata names weights: (SHA-256, whose they are, their revision), and what they are.
WEIGHTS = {
    ("model_sha256", "model", "model_revision"): "weights of the model",
    ("W_U_sha256", "model", "model_revision"): "its unembedding",
    ("sae_sha256", "sae", "sae_revision"): "weights of the SAE",
    ("W_dec_sha256", "sae", "sae_revision"): "its decoder",
}
# An absolute path within a text: two names or more. (No backslash: patterns of token sets have them.)
_PLACE = re.compile(r"(?<![\w./:~\\-])~?(?:/[\w.+@~-]+){2,}")
CODE = (".py", ".smk")
LIBRARIES = ("torch", "transformers", "transformer-lens", "sae-lens")
FORMATS = {
    ".parquet": "application/vnd.apache.parquet",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".safetensors": "application/octet-stream",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".html": "text/html",
    ".ipynb": "application/x-ipynb+json",
    ".tex": "application/x-tex",
    ".py": "text/x-python",
    ".smk": "text/plain",
    ".lock": "text/plain",
}


@dataclass(frozen=True)
class Run:
    """What a run was: paths are relative to the project's folder.

    results: what it made, folders included; scripts: of each result, the script that made it (None: none
    did); given: code, settings and weights; workflow: the Snakefile; citation: what CITATION.cff holds;
    studies: titles of those that were built; overlays: files that were laid over the config, a path from the
    root for one outside the project's folder; config: what was built by, resolved.
    """

    results: Sequence[str]
    scripts: Sequence[str | None]
    given: Sequence[str]
    workflow: str
    citation: Mapping[str, Any]
    studies: Sequence[str]
    overlays: Sequence[str]
    config: Mapping[str, Any]


def write(folder: Path, run: Run) -> None:
    """Write NAME in `folder`, the project's, where the run's files are. FsrlError where one is missing."""
    text = json.dumps(describe(folder, run), indent=1, ensure_ascii=False)
    with files.atomic_write(folder / NAME) as path:
        path.write_text(text + "\n", encoding="utf-8")


def describe(folder: Path, run: Run) -> dict[str, Any]:
    """The crate's JSON-LD."""
    from rocrate.rocrate import ROCrate

    crate = ROCrate()
    said = run.citation
    crate.name = f"{said['title']}: run of {', '.join(run.studies)}"
    crate.description = str(said["abstract"])
    crate.keywords = ", ".join(said["keywords"])
    license_id = f"https://spdx.org/licenses/{said['license']}"
    crate.license = crate.add_jsonld({"@id": license_id, "@type": "CreativeWork", "name": said["license"]})
    crate.creator = [
        crate.add_jsonld({"@id": f"#{_slug(one['name'])}", "@type": "Organization", "name": one["name"]})
        for one in said["authors"]
    ]
    described = _Described(crate, folder)
    workflow = crate.add_workflow(
        run.workflow,
        run.workflow,
        main=True,
        lang="snakemake",
        lang_version=metadata.version("snakemake"),
        properties=described.hashed(run.workflow) | {"name": "fsrl", "version": said["version"]},
    )
    given = [described.file(path) for path in run.given]
    # Code is an instrument; which of the rest a script reads its rule says.
    used = [one for path, one in zip(run.given, given, strict=True) if not path.endswith(CODE)]
    used += [described.overlay(path) for path in run.overlays if path not in run.given]
    used.append(described.config(run.config))
    made: dict[str, list[Any]] = {}
    for result, script in zip(run.results, run.scripts, strict=True):
        found = [described.file(path) for path in _inside(folder, result)]
        made.setdefault(script or run.workflow, []).extend(found)
    workflow["softwareRequirements"] = described.software()
    for script, results in sorted(made.items()):
        instrument = workflow if script == run.workflow else described.file(script)
        action = {"name": f"run of {script}", "endTime": described.latest(results)}
        crate.add_action(instrument, f"#run-{_slug(script)}", used, results, action)
    crate.datePublished = described.latest([one for results in made.values() for one in results])
    return crate.metadata.generate()


class _Described:
    """The entities of a crate as they are added, each once."""

    def __init__(self, crate: Any, folder: Path) -> None:
        self.crate, self.folder = crate, folder
        self.versions: set[tuple[str, str]] = set()
        self.times: dict[str, float] = {}

    def hashed(self, path: str) -> dict[str, Any]:
        """Size, hash and format of a file."""
        found = self.folder / path
        said = {"contentSize": str(found.stat().st_size), "sha256": files.sha256(found)}
        kind = FORMATS.get(found.suffix)
        return said | ({"encodingFormat": kind} if kind else {})

    def file(self, path: str) -> Any:
        """A file, and what its metadata says where it is a table of ours."""
        if path in self.crate:
            return self.crate.get(path)
        if not (self.folder / path).is_file():
            raise FsrlError(f"{path}: no such file in {self.folder}; build it first (snakemake --cores 8)")
        self.times[path] = (self.folder / path).stat().st_mtime
        properties = self.hashed(path) | {"name": Path(path).name}
        if path.endswith(CODE):
            properties["@type"] = ["File", "SoftwareSourceCode"]
        if path.endswith(".parquet"):
            properties |= self._made_from(core.read_metadata(self.folder / path))
        return self.crate.add_file(path, path, properties=properties)

    def overlay(self, path: str) -> Any:
        """A file that was laid over the config; of one outside the folder its name and hash alone."""
        if not Path(path).is_absolute():
            return self.file(path)
        said = self.hashed(path) | {"name": Path(path).name}
        return self._entity(f"#config-file-{said['sha256']}", "CreativeWork", **said)

    def config(self, config: Mapping[str, Any]) -> Any:
        """The resolved config as JSON, without what tells of a machine."""
        text = json.dumps(_published(config, self.folder.absolute()), ensure_ascii=False)
        kind = {"encodingFormat": FORMATS[".json"], "text": text}
        return self._entity("#config", "CreativeWork", name="the config, resolved", **kind)

    def software(self) -> list[Any]:
        """The libraries that the tables name, Python and Snakemake; in the order of their names."""
        self.versions |= {("python", platform.python_version()), ("snakemake", metadata.version("snakemake"))}
        return [
            self._entity(f"#{name}-{version}", "SoftwareApplication", name=name, softwareVersion=version)
            for name, version in sorted(self.versions)
        ]

    def latest(self, made: Sequence[Any]) -> str:
        """When the last of these files was written (UTC, ISO 8601)."""
        seconds = max((self.times[one.id] for one in made), default=0)
        return datetime.fromtimestamp(int(seconds), UTC).isoformat()

    def _made_from(self, said: Mapping[str, str]) -> dict[str, Any]:
        """Weights and device of a table."""
        self.versions |= {(name, said[name]) for name in LIBRARIES if name in said}
        weights = [
            self._entity(
                f"#sha256-{said[key]}",
                "CreativeWork",
                name=public(said.get(name, key)),
                version=public(said.get(revision, "")),
                sha256=said[key],
                description=what,
            )
            for (key, name, revision), what in WEIGHTS.items()
            if key in said
        ]
        found: dict[str, Any] = {"isBasedOn": weights} if weights else {}
        if "device" in said:
            value = f"{said['device']} ({said.get('device_name', 'unnamed')})"
            device = self._entity(f"#device-{_slug(value)}", "PropertyValue", name="device", value=value)
            found["additionalProperty"] = device
        return found

    def _entity(self, identifier: str, kind: str, **properties: str) -> Any:
        if identifier in self.crate:
            return self.crate.get(identifier)
        return self.crate.add_jsonld({"@id": identifier, "@type": kind} | properties)


def _inside(folder: Path, result: str) -> Iterator[str]:
    """The file, or the files of a folder but Snakemake's mark."""
    if not (folder / result).is_dir():
        yield result
        return
    for path in sorted((folder / result).rglob("*")):
        if path.is_file() and not path.name.startswith(".snakemake"):
            yield str(path.relative_to(folder))


def _published(value: Any, folder: Path) -> Any:
    """A setting with texts as they may be read by anybody: no secret, paths relative to the folder, of those
    that lead out of it the last part.
    """
    if isinstance(value, Mapping):
        return {key: _published(inner, folder) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_published(inner, folder) for inner in value]
    if not isinstance(value, str):
        return value
    # A setting that is a path may hold blanks; "/" and "/s" are tokens.
    if value.startswith(("/", "~/", "../")) and value.count("/") > value.startswith("/"):
        return plain.text(_within(value, folder))
    return plain.text(_PLACE.sub(lambda match: _within(match[0], folder), value))


def _within(path: str, folder: Path) -> str:
    """A path relative to the folder; of one that leads out of it the last part."""
    found = Path(os.path.relpath(folder / path, folder))
    return found.name if ".." in found.parts or path.startswith("~") else str(found)


def _slug(text: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in text)
