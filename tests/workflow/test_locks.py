"""Two runs in one folder: the second is refused, and a run that was killed is in nobody's way."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fsrl.errors import FsrlError
from tests.fixtures.project import ROOT, Project
from workflow import locks

# Holds the lock, starts a child that outlives it, and waits.
HOLDER = """
import subprocess, sys, time
from pathlib import Path
from workflow import locks
held = locks.hold(Path(sys.argv[1]))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".snakemake/fsrl.lock"


def test_one_at_a_time_and_a_killed_holder_leaves_no_lock(path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(path)]
    holder = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(
            FsrlError, match=rf"another run is at work in this folder \(process {holder.pid} on"
        ):
            locks.hold(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        # Its jobs may live on: they do not hold the lock.
        os.kill(child, 0)
        os.close(locks.hold(path))
    finally:
        os.kill(child, signal.SIGKILL)
        holder.kill()
        holder.communicate()


def test_a_file_system_without_locks_is_the_callers_affair(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks available"):
        locks.hold(path)


def test_a_second_run_is_refused_before_its_first_job(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    held = locks.hold(project.folder / ".snakemake/fsrl.lock")
    try:
        assert project.without_jobs("--dry-run").returncode == 0
        done = project.snakemake("results/models/tiny-model/unembedding.safetensors")
    finally:
        os.close(held)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if "rror" in line]
    assert len(errors) == 1 and errors[0].startswith("error: another run is at work in this folder")
    assert project.outputs() == fresh.outputs()
