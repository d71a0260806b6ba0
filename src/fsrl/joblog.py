"""A job's log: records, warnings and tracebacks to its file; one line on the screen when it fails.

Call it first in a script, before anything heavy is imported, since a BLAS library reads its thread count
from the environment when it is loaded:

    from fsrl import joblog
    joblog.to(snakemake.log[0], threads=snakemake.threads)
"""

import logging
import os
import sys
import threading
from pathlib import Path
from types import TracebackType

from threadpoolctl import threadpool_limits

from fsrl import machine, plain
from fsrl.errors import FsrlError

# A thread of OpenMP that waits for others sleeps. One that spins, as is usual, takes a core from what else is
# at work: beside other jobs small operations on two threads then took twenty times as long.
WAIT_POLICY = ("OMP_WAIT_POLICY", "PASSIVE")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

logger = logging.getLogger(__name__)


class _Plain(logging.Formatter):
    """Records and tracebacks as they may be kept: other libraries' messages repeat addresses and names."""

    def format(self, record: logging.LogRecord) -> str:
        return plain.text(super().format(record))


def to(path: str | Path, *, threads: int | None = None) -> None:
    """Send this process' logging, warnings and uncaught tracebacks to the file `path` (begun afresh).

    An uncaught exception still ends the process with status 1; the screen gets one line instead of a
    traceback. Torch and BLAS get at most `threads` threads (default: as many as there are cores), never more
    than the cores that this process may use, nor than OMP_NUM_THREADS where that is set already; they sleep
    while they wait unless OMP_WAIT_POLICY says otherwise.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=path,
        filemode="w",
        level=logging.WARNING,
        encoding="utf-8",
        force=True,
    )
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # Our own records in full, of other libraries what matters: fontTools logs every table of a font.
    logging.getLogger("fsrl").setLevel(logging.INFO)
    logging.captureWarnings(True)

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """The traceback goes to the log, one line to the terminal."""
        if issubclass(kind, KeyboardInterrupt):  # the default hook, for the exit status of an interrupt
            sys.__excepthook__(kind, error, trace)
            return
        logger.critical("failed", exc_info=(kind, error, trace))
        expected = issubclass(kind, FsrlError)
        line = f"error: {error}" if expected else f"error: {kind.__name__}: {error} (traceback in {path})"
        print(plain.line(line), file=sys.stderr)

    sys.excepthook = report
    threading.excepthook = lambda failed: logger.critical(
        "thread %s failed",
        failed.thread.name if failed.thread else "?",
        exc_info=(failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback),
    )
    logger.info("at most %d threads", _cap_threads(threads))


def _cap_threads(threads: int | None) -> int:
    """Cap torch and BLAS at the cores that exist: two jobs of eight threads on two cores stand still."""
    cores = machine.cores()
    already = os.environ.get("OMP_NUM_THREADS", "")
    limits = [cores, threads or cores, int(already) if already.isdigit() else cores]
    count = max(1, min(limits))
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(count)
    os.environ.setdefault(*WAIT_POLICY)
    # The environment comes too late for a library that is loaded already.
    threadpool_limits(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    return count
