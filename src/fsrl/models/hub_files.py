"""Files of the Hugging Face hub: are they on this machine, and if not, fetch them.

Everything goes through huggingface_hub and its cache (HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE mean what they always mean). What lies in the cache is used without asking the network, so a
branch that has moved on since is noticed only when something is missing. Every downloaded file is checked
against the hash under which the hub announced it.
"""

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsrl.errors import FsrlError
from fsrl.files import atomic_write

# The hub must answer the first request within this time, so that a machine without network knows soon.
ANSWER_SECONDS = 4.0
# A server's own faults (5xx) and broken connections are worth asking again, this often and after this long.
ATTEMPTS, PAUSE_SECONDS = 5, 0.5
# Which files there are is asked again where a branch moved while its files were being fetched.
ROUNDS = 3


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository. Where it is not required the repository may lack it, but whether it does
    must be known (a cache filled in part does not say).
    """

    repo: str
    path: str
    revision: str | None = None
    required: bool = True

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
    """sha256 of a weights file; FsrlError where the hub announced another hash for a file of its cache."""
    found, announced = sha256(path), path.resolve().name
    if len(announced) == 64 and announced != found:
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
    revision or required file does not exist, and where the content does not have the announced hash (the
    bad file is removed then).
    """
    for _ in range(ROUNDS):
        lacking = missing(files)
        if not lacking:
            return
        _refuse_offline(lacking[0])
        sizes = _announced_sizes(lacking)
        known = [sizes[file] for file in lacking if file in sizes]
        print(f"fetching {len(known)} files, {sum(known) / 1e9:.2f} GB", file=sys.stderr, flush=True)
        for file in lacking:
            _download(file)
    lacking = missing(files)
    if lacking:
        raise FsrlError(f"{lacking[0]}: the repository changed while it was read; run the command again")


def write_record(files: Sequence[HubFile], path: str | Path) -> None:
    """A table of the cached files: repository, path, commit, sha256 and size in bytes of each that exists."""
    found = [(file, cached(file)) for file in files]
    lines = ["repository\tpath\tcommit\tsha256\tbytes"]
    for file, place in found:
        if place is not None:
            values = [file.repo, file.path, commit(place), checked_sha256(place), str(place.stat().st_size)]
            lines.append("\t".join(values))
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


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


def _refuse_offline(file: HubFile) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise FsrlError(
            f"{file} is not in the Hugging Face cache and HF_HUB_OFFLINE is set; unset it, or set HF_HOME to "
            "a cache that holds the file"
        )


def _announced_sizes(files: Sequence[HubFile]) -> dict[HubFile, int]:
    """Size in bytes of each file that its repository lists; also the test whether the hub can be reached."""
    from huggingface_hub import HfApi

    sizes = {}
    for repo, revision in dict.fromkeys((file.repo, file.revision) for file in files):

        def ask(repo: str = repo, revision: str | None = revision) -> Any:
            return HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS)

        listed = {entry.rfilename: entry.size or 0 for entry in _asked(ask, repo, revision).siblings or []}
        for file in files:
            if (file.repo, file.revision) == (repo, revision) and file.path in listed:
                sizes[file] = listed[file.path]
    return sizes


def _download(file: HubFile) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def get() -> str | None:
        # hf_hub_download waits up to seven minutes for a hub that takes the request and never answers. It is
        # asked for a file that does not exist all the same, so that the cache remembers.
        url = hf_hub_url(file.repo, file.path, revision=file.revision)
        with contextlib.suppress(EntryNotFoundError):
            get_hf_file_metadata(url, timeout=ANSWER_SECONDS)
        try:
            return hf_hub_download(file.repo, file.path, revision=file.revision)
        except LocalEntryNotFoundError:  # says "the hub did not answer", though it is an EntryNotFoundError
            raise
        except EntryNotFoundError:
            if file.required:
                raise FsrlError(
                    f"{file}: the repository has no such file; check the study's settings"
                ) from None
            return None

    path = _asked(get, file.repo, file.revision)
    if path is not None:
        _check_hash(Path(path), file)


def _asked(question: Any, repo: str, revision: str | None) -> Any:
    """What `question` returns; asks again where the hub is at fault, and says in one line what went wrong."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return question()
        except GatedRepoError:
            raise FsrlError(f"{repo} is gated: ask for access on its page, then set HF_TOKEN") from None
        except RepositoryNotFoundError:
            raise FsrlError(f"{hub} has no repository {repo} (or it is private); check the name") from None
        except RevisionNotFoundError:
            raise FsrlError(f"{repo} has no revision {revision!r}; check the study's setting") from None
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status < 500 or attempt == ATTEMPTS:
                raise FsrlError(f"{hub} answered {status} for {repo}; try again later") from None
        except Exception as error:
            if not _kinds(error) & {"LocalEntryNotFoundError", "OSError", "TransportError"}:
                raise
            # Where nobody listens or answers, asking again only costs time.
            if attempt == ATTEMPTS or _kinds(error) & {"ConnectError", "ConnectTimeout", "ReadTimeout"}:
                raise FsrlError(_no_connection(hub, repo, error)) from None
        time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def _kinds(error: BaseException) -> set[str]:
    """Names of the exception's classes: the HTTP library's own are not public in huggingface_hub."""
    return {kind.__name__ for kind in type(error).__mro__}


def _no_connection(hub: str, repo: str, error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"{repo}: {os.strerror(error.errno)} (Hugging Face cache, HF_HOME); see to it and run again"
    return (
        f"{repo} cannot be fetched from {hub} ({type(error).__name__}); connect this machine to the network, "
        "or set HF_ENDPOINT to a mirror or HF_HOME to a cache that holds the files, then run again"
    )


def _check_hash(path: Path, file: HubFile) -> None:
    """The cache names a blob by the announced hash: sha256 of a large file, git's of a small one."""
    blob = path.resolve()
    if len(blob.name) == 64:
        found = sha256(blob)
    elif len(blob.name) == 40:
        content = blob.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    else:
        return
    if found != blob.name:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise FsrlError(
            f"{file}: what arrived does not have the hash that the hub announced, and was removed; run the "
            "command again"
        )


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turns what a library raises while it reads this one file into one line that names it, with a remedy."""
    try:
        yield
    except FsrlError:
        raise
    except Exception as error:  # which kind depends on where in the file the library stumbles
        raise FsrlError(f"{shown(path)}: cannot be read ({_reason(error)}); {remedy(path)}") from error


def remedy(path: Path) -> str:
    """What to do about a broken file: one of the hub's cache can be fetched again, another is the user's."""
    return "delete it and fetch it again" if shown(path) != str(path) else "put a whole one there"


def _reason(error: Exception) -> str:
    """The error on one line, without the path, which the message has already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).strip().split("\n")[0][:200]
    return f"it has no {text}" if isinstance(error, KeyError) else text or type(error).__name__
