"""Files that are written whole or not at all, and texts that are read with errors which name them.

What is half written lies beside its target as `.{name}.{process}@{host}.tmp`, a folder for a while among the
system's temporary files under such a name. A process that is killed leaves them behind. Whoever writes the
same target next, or makes the same kind of folder, removes those whose process has ended.
"""

import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsrl.errors import FsrlError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A name without a host is taken for one of this machine.
_LEFT = re.compile(r"\..*\.(?P<process>\d+)(?:@(?P<host>[\w-]+))?\.tmp", re.DOTALL)
# Processes of another machine cannot be asked after; nothing of ours is silent for this long.
_STALE_SECONDS = 24 * 3600


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, else it is removed.

    A reader therefore sees the old file or the new one, never a part. The temporary file lies in the same
    folder because a rename is atomic only within one file system. FsrlError where the disk is full, and where
    there can be no such file.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}{_ending()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(target, error) from error
    sweep(target.parent.glob(glob.escape(f".{target.name}.") + "*.tmp"))
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        # Not every library says in a field which file it could not open.
        if error.errno not in NO_ROOM and temporary.name not in str(error):
            raise
        raise _refused(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes the place of `path`, else it is removed.

    What was at `path` is gone a moment before the new folder is there. FsrlError as of `atomic_write`.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}{_ending()}")
    try:
        sweep(target.parent.glob(glob.escape(f".{target.name}.") + "*.tmp"))
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
    except OSError as error:
        if error.errno not in NO_ROOM and temporary.name not in str(error):
            raise
        raise _refused(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def temporary_folder(kind: str, within: str | Path | None = None) -> Iterator[Path]:
    """Yield an empty folder, removed at the end, among the system's temporary files or `within` a folder;
    kind: begins its name.
    """
    sweep(Path(within or tempfile.gettempdir()).glob(f".fsrl-{kind}-*.tmp"))
    with tempfile.TemporaryDirectory(prefix=f".fsrl-{kind}-", suffix=_ending(), dir=within) as name:
        yield Path(name)


def sweep(paths: Iterable[Path]) -> None:
    """Remove, of these files and folders, what `atomic_write` and `temporary_folder` of a process that has
    ended left behind. What this process may not remove stays.
    """
    for path in paths:
        left = _LEFT.fullmatch(path.name)
        with contextlib.suppress(OSError):
            if left is None or not _abandoned(path, int(left["process"]), left["host"]):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def user_cache() -> Path:
    """The folder of what is kept between runs: ~/.cache/fsrl, or below XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fsrl"


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: str | Path) -> str:
    """A UTF-8 text without its byte order mark; FsrlError for a file that is missing or is no text."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FsrlError(f"{path}: cannot be read ({error.strerror}); give a text file") from error
    except UnicodeDecodeError as error:
        raise FsrlError(
            f"{path}: not a text in UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start}); "
            "save it as UTF-8, or give another file"
        ) from error


def read_json(path: str | Path) -> Any:
    """What a file of JSON holds; FsrlError for one that is missing or no JSON."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FsrlError(f"{path}: not JSON ({error}); put a whole file there") from error


def written_twice(pairs: Iterable[tuple[str, Any]]) -> str | None:
    """The first name that several pairs of a JSON object have; None where each has its own."""
    names = [name for name, _ in pairs]
    return next((name for name in names if names.count(name) > 1), None)


def _refused(target: Path, error: OSError) -> FsrlError:
    remedy = "make room and run again" if error.errno in NO_ROOM else "give a path that can be written"
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return FsrlError(f"{target}: cannot be written ({reason}); {remedy}")


def _ending() -> str:
    return f".{os.getpid()}@{_host()}.tmp"


def _host() -> str:
    """This machine's name, short: a socket's path that holds it must stay short."""
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node().split(".")[0])[-20:] or "localhost"


def _abandoned(path: Path, process: int, host: str | None) -> bool:
    if host in (None, _host()) and not _is_running(process):
        return True
    return time.time() - path.stat().st_mtime > _STALE_SECONDS


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True
