"""A file's checksum is taken once while it stays as it is, not once for every output that is made of it.

After a job, Snakemake records for each of its outputs the checksums of all of the job's inputs, and reads the
inputs anew each time: for `mini` 66 GB of 1,118 outputs, on the one thread that starts the next jobs.
Snakemake has no setting for it; the method that is replaced is of the version in the lock, and a test checks
that it is there.
"""

import os
from typing import Any

from snakemake.io import _IOFile

_read = _IOFile.checksum
_known: dict[tuple[int, ...], str | None] = {}


async def checksum(
    file: _IOFile, threshold: int | None = None, force: bool = False, algorithm: Any = None
) -> str | None:
    """As Snakemake's method of that name; a file is another once its time, size or inode has changed."""
    if force or algorithm is not None or file.is_storage:
        return await _read(file, threshold, force, algorithm)
    try:
        found = os.stat(file)
    except OSError:
        return await _read(file, threshold)
    limit = -1 if threshold is None else threshold
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, limit)
    if state not in _known:
        _known[state] = await _read(file, threshold)
    return _known[state]


def remember() -> None:
    """Let this process' Snakemake take checksums so."""
    _IOFile.checksum = checksum
