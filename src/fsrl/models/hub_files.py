"""Files of the Hugging Face hub: are they on this machine, and if not, fetch them.

Everything goes through huggingface_hub and its cache (HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE mean what they always mean). What lies in the cache is used without asking the network, so a
branch that has moved on since is noticed only when something is missing. Every downloaded file is checked
against the hash under which the hub announced it. How the hub is asked, and what it is believed, is
`fsrl.models.hub_requests`.
"""

import contextlib
import hashlib
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fsrl.errors import FsrlError
from fsrl.files import temporary_folder
from fsrl.models import hub_requests

# From a folder of the user's through a snapshot to a blob there are a few links.
LINKS = 8
# Which files there are is asked again where a branch moved while its files were being fetched.
ROUNDS = 3
# How a broken file of the user's is made again, where nothing more is known of it.
ANEW = "put a whole one there"


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository. Where it is not required the repository may lack it, but whether it does
    must be known (a cache filled in part does not say).

    FsrlError for a path or a revision that would lead out of the repository's folder in the cache: names of
    files stand in files of the hub, too.
    """

    repo: str
    path: str
    revision: str | None = None
    required: bool = True

    def __post_init__(self) -> None:
        for kind, name in (("file", self.path), ("revision", self.revision or "main")):
            parts = re.split(r"[/\\]", name)
            if not name.isprintable() or {"", ".", ".."} & set(parts) or re.match("[A-Za-z]:", name):
                raise FsrlError(f"{self.repo}: {name[:200]!r} is no name of a {kind} there; correct it")

    def __str__(self) -> str:
        return f"{self.repo}/{self.path}" + (f" at {self.revision}" if self.revision else "")


def cached(file: HubFile) -> Path | None:
    """Where the file lies in the cache; None where it does not, or is known not to exist."""
    found = _look_up(file)
    return Path(found) if isinstance(found, str) else None


def missing(files: Iterable[HubFile]) -> list[HubFile]:
    """Those of `files` that must be fetched. Asks the cache only, never the network."""
    return [file for file in files if _look_up(file) is None or (file.required and cached(file) is None)]


def commit(path: Path) -> str:
    """The commit of a cached file, from its place in the cache: snapshots/{commit}/..."""
    parts = path.parts
    return parts[len(parts) - parts[::-1].index("snapshots")]


def shown(path: Path) -> str:
    """How messages name a file: one of the hub's cache by repository and commit, not by folders."""
    parts = path.parts
    if "snapshots" not in parts or not parts[parts.index("snapshots") - 1].startswith("models--"):
        return str(path)
    at = parts.index("snapshots")
    repo = parts[at - 1].removeprefix("models--").replace("--", "/")
    return f"{repo}/{'/'.join(parts[at + 2 :])} at {parts[at + 1]} (Hugging Face cache)"


def sha256(path: Path) -> str:
    """Hash of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_sha256(path: Path) -> str:
    """sha256 of a file; FsrlError where the hub announced another hash for a file of its cache."""
    found, announced = sha256(path), _announced(path)
    if announced and announced != found and not (len(announced) == 40 and _is_whole(path, announced)):
        raise FsrlError(
            f"{shown(path)}: its content does not have the hash that the hub announced for it; delete "
            "the file and fetch it again"
        )
    return found


def present(file: HubFile) -> Path:
    """Where a file lies in the cache; FsrlError where it does not."""
    path = cached(file)
    if path is None:
        raise FsrlError(f"{file} is not in the Hugging Face cache; fetch it first")
    return path


def require(files: Sequence[HubFile], remedy: str) -> None:
    """Raise FsrlError, with the remedy, if one of the files is not in the cache."""
    lacking = missing(files)
    if lacking:
        others = f" and {len(lacking) - 1} more files" if len(lacking) > 1 else ""
        raise FsrlError(f"{lacking[0]}{others} not in the Hugging Face cache; {remedy}")


def fetch(files: Sequence[HubFile]) -> None:
    """Bring every file into the cache, checked; no request is made where all are there.

    Prints the size before it starts, and a progress bar a file. A download that was cut goes on where it
    stopped. Raises FsrlError where the hub cannot be reached or answers with a fault, where a repository,
    revision or required file does not exist, where the cache cannot be written, and where the content does
    not have the announced hash (the bad file is removed then).
    """
    if files:
        hub_requests.guard()
    for _ in range(ROUNDS):
        lacking = missing(files)
        if not lacking:
            return
        _refuse_offline(f"{lacking[0]} is not in the Hugging Face cache")
        _announce(lacking)
        for file in lacking:
            _download(file)
    lacking = missing(files)
    if lacking:
        raise FsrlError(f"{lacking[0]}: the repository changed while it was read; run the command again")


def fetch_again(files: Sequence[HubFile]) -> None:
    """Fetch every file though it is in the cache, where it replaces what lies there once all are whole.

    Prints and raises as `fetch`; what was in the cache stays then.
    """
    _refuse_offline(f"{files[0]} is to be fetched again")
    _announce(files)
    hub_requests.asked(lambda: _replace(files), files[0].repo, files[0].revision)
    fetch(files)  # a branch may have moved between two files


def _replace(files: Sequence[HubFile]) -> None:
    """Fetch the files apart from the cache, on its file system, and put each in its place in one step."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    with temporary_folder("fetch", cache) as apart:
        for file in files:
            _download(file, apart)
        # A branch leads to its commit once that commit's files are there.
        for place in sorted(apart.glob("models--*/**/*"), key=lambda path: "refs" in path.parts):
            if place.is_symlink() or place.is_file():
                target = cache / place.relative_to(apart)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(place, target)


def _look_up(file: HubFile) -> Any:
    """Path as text, a marker for "known not to exist", or None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return try_to_load_from_cache(file.repo, file.path, revision=file.revision)
    except HFValidationError:
        raise FsrlError(
            f"{file.repo}: there is no such folder (seen from {Path.cwd()}), and no repository can "
            "have this name; correct the folder or the name"
        ) from None
    except (OSError, ValueError) as error:
        raise FsrlError(
            f"{file.repo}: the Hugging Face cache cannot be read ({type(error).__name__}); see to it "
            "(HF_HOME), or delete the folder of this repository there and run again"
        ) from None


def _refuse_offline(wanted: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise FsrlError(
            f"{wanted} and HF_HUB_OFFLINE is set; unset it, or set HF_HOME to a cache that holds the file"
        )


def _announce(files: Sequence[HubFile]) -> None:
    """Print how much is fetched."""
    sizes = _announced_sizes(files)
    known = [sizes[file] for file in files if file in sizes]
    print(f"fetching {len(known)} files, {sum(known) / 1e9:.2f} GB", file=sys.stderr, flush=True)


def _announced_sizes(files: Sequence[HubFile]) -> dict[HubFile, int]:
    """Size in bytes of each file that its repository lists; also the test whether the hub can be reached."""
    sizes = {}
    for repo, revision in dict.fromkeys((file.repo, file.revision) for file in files):
        listed = hub_requests.asked(partial(_listed, repo, revision), repo, revision)
        for file in files:
            if (file.repo, file.revision) == (repo, revision) and file.path in listed:
                sizes[file] = listed[file.path]
    return sizes


def _listed(repo: str, revision: str | None) -> dict[str, int]:
    from huggingface_hub import HfApi

    wait = hub_requests.ANSWER_SECONDS
    found = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=wait)
    return {str(entry.rfilename): int(entry.size or 0) for entry in found.siblings or []}


def _download(file: HubFile, cache: Path | None = None) -> None:
    """Fetch one file, checked; a blob that lay in the cache and is broken makes room for another.

    cache: another one than huggingface_hub's.
    """
    begun = time.time()
    for _ in range(2):
        path, etag = hub_requests.asked(lambda: _get(file, cache), file.repo, file.revision)
        if path is None or _is_whole(path, _announced(path) or etag):
            return
        lay_there = path.stat().st_mtime < begun
        remove(path)
        if not lay_there:
            break
    raise FsrlError(
        f"{file}: what arrived does not have the hash that the hub announced, and was removed; run the "
        "command again"
    )


def _get(file: HubFile, cache: Path | None) -> tuple[Path | None, str]:
    """Where the file lies by now and its ETag; no path where the repository has no such file."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    # hf_hub_download waits up to seven minutes for a hub that takes the request and never answers. It is
    # asked for a file that does not exist all the same, so that the cache remembers.
    url, etag = hf_hub_url(file.repo, file.path, revision=file.revision), ""
    with contextlib.suppress(EntryNotFoundError):
        etag = get_hf_file_metadata(url, timeout=hub_requests.ANSWER_SECONDS).etag or ""
    try:
        found = hf_hub_download(file.repo, file.path, revision=file.revision, cache_dir=cache)
        return Path(found), etag
    except LocalEntryNotFoundError:  # says "the hub did not answer", though it is an EntryNotFoundError
        raise
    except EntryNotFoundError:
        if file.required:
            raise FsrlError(f"{file}: the repository has no such file; check the study's settings") from None
        return None, ""


def _announced(path: Path) -> str:
    """The hash under which the hub announced a file of its cache; "" where the cache does not say.

    The snapshot's link names the blob, which is named by the hash (and may itself be a link to a store that
    repositories share); a cache on a file system without links has no blobs.
    """
    for _ in range(LINKS):
        if not path.is_symlink():
            break
        path = path.parent / os.readlink(path)
        if path.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", path.name):
            return path.name
    return ""


def _is_whole(path: Path, announced: str) -> bool:
    """Whether the content has the hash: sha256 of a large file (64 digits), git's of a small one (40)."""
    if len(announced) == 40:
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == announced
    return sha256(path) == announced


def remove(path: Path) -> None:
    """Take a file out of the cache, the link and what it leads to; FsrlError where that is not allowed."""
    try:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FsrlError(
            f"{shown(path)} is broken and cannot be removed ({error.strerror}); see to it"
        ) from None


@contextmanager
def clear_errors(path: Path, anew: str = ANEW) -> Iterator[None]:
    """Turns what a library raises while it reads this one file into one line that names it, with a remedy;
    anew: how a file of the user's is made again.
    """
    try:
        yield
    except FsrlError:
        raise
    except Exception as error:  # which kind depends on where in the file the library stumbles
        raise FsrlError(f"{shown(path)}: cannot be read ({_reason(error)}); {remedy(path, anew)}") from error


def remedy(path: Path, anew: str = ANEW) -> str:
    """What to do about a broken file: one of the hub's cache can be fetched again, another is the user's."""
    return "delete it and fetch it again" if shown(path) != str(path) else anew


def _reason(error: Exception) -> str:
    """The error on one line, without the path, which the message has already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())[:200]
    return f"it has no {text}" if isinstance(error, KeyError) else text or type(error).__name__
