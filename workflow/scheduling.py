"""What would keep Snakemake from starting the next jobs: two habits of the version in the lock.

A file's checksum is taken once while it stays as it is, not once for every output that is made of it. After a
job, Snakemake records for each of its outputs the checksums of all of the job's inputs, and reads the inputs
anew each time: for `make reproduce` 66 GB, on the one thread that starts the next jobs. It has no setting for
it; the method that is replaced is there by a test.

And it does not look again and again whether a job may start. To hold a rate of 100 jobs a second it looks a
second after each time that it looked, and each job's end begins another such chain: after a hundred jobs it
looks a hundred times a second, at all inputs of all jobs that are ready. What ends a wait here is a job.
"""

import os
from typing import Any

from snakemake.io import _IOFile
from snakemake.scheduling.job_scheduler import JobScheduler

# Jobs, and in so many seconds: the default of --max-jobs-per-timespan.
DEFAULT_RATE = (100, 1)
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


def wait_for_jobs(scheduler: JobScheduler) -> None:
    """Drop the rate that Snakemake holds by itself, before the first job; one that was asked for stays."""
    limiter = scheduler.job_rate_limiter
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == DEFAULT_RATE:
        scheduler.job_rate_limiter = None
