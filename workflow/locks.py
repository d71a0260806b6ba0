"""One run at a time in a folder: a lock that ends with its process, whatever ends that.

Snakemake's own lock is files that a killed run leaves behind (the profile turns it off); this one the system
holds. Runs on one machine see each other's on any file system that takes locks, those on several machines
where the file system that they share passes flock on (NFS does; Lustre if mounted so).

A run takes it in the hook `onstart`: before that no Snakefile is told what a run will do (jobs, a dry run, a
report), so that one with --no-hooks takes none.
"""

import fcntl
import os
import socket
from pathlib import Path

from fsrl.errors import FsrlError


def hold(path: Path) -> int:
    """Take the lock for the rest of this process' life; the open file, not passed on to jobs.

    Raises FsrlError where another process has it, and OSError where the file system takes no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = os.read(held, 200).decode("utf-8", "replace").strip() or "unknown"
        os.close(held)
        raise FsrlError(
            f"another run is at work in this folder ({who}); wait until it is done, or end it (a dry run "
            "may go beside it)"
        ) from None
    except OSError:
        os.close(held)
        raise
    os.ftruncate(held, 0)
    os.write(held, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return held
