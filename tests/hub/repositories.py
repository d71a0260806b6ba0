"""The folders that the loopback hub serves: repositories with commits and refs, and what it says of a file.

TREE/aliases.json                          {"gpt2": "openai-community/gpt2"}
TREE/ORGANISATION/NAME/refs/main           a commit, 40 hex digits; one file for each branch or tag
TREE/ORGANISATION/NAME/commits/COMMIT/...  the files
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# What .gitattributes sends to large-file storage on the real hub; all else is an ordinary git blob.
LARGE = (".safetensors", ".pt", ".bin")


class Missing(Exception):
    """Something that the hub has not got, with the value of its X-Error-Code header."""

    def __init__(self, code: str, commit: str | None = None):
        super().__init__(code)
        self.code, self.commit = code, commit


@dataclass(frozen=True)
class HubFile:
    """One file of one commit; `oid` is the hub's ETag: sha256 for a large file, else git's sha1."""

    path: str
    on_disk: Path
    size: int
    blob: str
    sha256: str | None

    @property
    def oid(self) -> str:
        return self.sha256 or self.blob

    def entry(self) -> dict:
        """The file as /tree lists it."""
        large = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 135}} if self.sha256 else {}
        return {"type": "file", "oid": self.blob, "size": self.size, "path": self.path, **large}

    def sibling(self, blobs: bool) -> dict:
        """The file as /api/models/NAME lists it; size and hashes only where ?blobs=true asks for them."""
        if not blobs:
            return {"rfilename": self.path}
        large = {"lfs": {"sha256": self.sha256, "size": self.size, "pointerSize": 135}} if self.sha256 else {}
        return {"rfilename": self.path, "blobId": self.blob, "size": self.size, **large}


@dataclass(frozen=True)
class Repository:
    """One repository of the tree. Raises Missing as the hub would answer."""

    name: str
    folder: Path

    def refs(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted((self.folder / "refs").iterdir())}

    def commit(self, revision: str) -> str:
        """The commit of a branch, a tag or a (full) commit."""
        commit = self.refs().get(revision, revision)
        if not (self.folder / "commits" / commit).is_dir():
            raise Missing("RevisionNotFound")
        return commit

    def files(self, commit: str) -> list[HubFile]:
        top = self.folder / "commits" / commit
        return [_file(path, top) for path in sorted(top.rglob("*")) if path.is_file()]

    def file(self, commit: str, path: str) -> HubFile:
        top = self.folder / "commits" / commit
        if ".." in Path(path).parts or not (top / path).is_file():
            raise Missing("EntryNotFound", commit)
        return _file(top / path, top)

    def info(self, commit: str, blobs: bool) -> dict:
        files = self.files(commit)
        return {
            "id": self.name,
            "modelId": self.name,
            "sha": commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "createdAt": "2022-03-02T23:29:04.000Z",
            "lastModified": "2024-02-19T10:57:45.000Z",
            "usedStorage": sum(file.size for file in files),
            "siblings": [file.sibling(blobs) for file in files],
        }

    def tree(self, commit: str, under: str, recursive: bool) -> list[dict]:
        """Files (and, where not recursive, folders) below `under`."""
        prefix = f"{under}/" if under else ""
        files = [file for file in self.files(commit) if file.path.startswith(prefix)]
        if not files:
            raise Missing("EntryNotFound", commit)
        rest = {file.path: file.path.removeprefix(prefix) for file in files}
        folders = sorted({prefix + name.rsplit("/", 1)[0] for name in rest.values() if "/" in name})
        if not recursive:
            folders = [folder for folder in folders if "/" not in folder.removeprefix(prefix)]
            files = [file for file in files if "/" not in rest[file.path]]
        listed = [
            {"type": "directory", "oid": _sha1(name.encode()), "size": 0, "path": name} for name in folders
        ]
        return listed + [file.entry() for file in files]


def find(tree: Path, name: str) -> Repository:
    folder = tree / name
    if "/" not in name or not (folder / "refs").is_dir():
        raise Missing("RepoNotFound")
    return Repository(name, folder)


def aliases(tree: Path) -> dict[str, str]:
    file = tree / "aliases.json"
    return json.loads(file.read_text()) if file.exists() else {}


def new_commit(tree: Path, name: str, *refs: str) -> Path:
    """An empty folder for one commit of a repository, to which the refs (branches, tags) now point."""
    folder = tree / name
    number = len(list((folder / "commits").iterdir())) if folder.exists() else 0
    commit = _sha1(f"{name} {number}".encode())
    (folder / "commits" / commit).mkdir(parents=True)
    (folder / "refs").mkdir(exist_ok=True)
    for ref in refs:
        (folder / "refs" / ref).write_text(commit)
    return folder / "commits" / commit


def _file(path: Path, top: Path) -> HubFile:
    state = path.stat()
    blob, sha256 = _hashes(path, state.st_size, state.st_mtime_ns)
    large = path.name.endswith(LARGE)
    return HubFile(path.relative_to(top).as_posix(), path, state.st_size, blob, sha256 if large else None)


@lru_cache(maxsize=4096)
def _hashes(path: Path, size: int, modified: int) -> tuple[str, str]:
    data = path.read_bytes()
    return _sha1(b"blob %d\0" % size + data), hashlib.sha256(data).hexdigest()


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
