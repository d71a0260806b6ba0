"""Checksums of inputs are Snakemake's own, taken once while a file stays; a run waits for its jobs."""

import asyncio
import hashlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.cli import get_argument_parser
from snakemake.io import IOFile, _IOFile
from snakemake.scheduling.job_scheduler import JobRateLimiter
from snakemake.settings.types import MaxJobsPerTimespan

from tests.fixtures.project import ROOT
from workflow import scheduling

LIMIT = 1000


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of files that were read, as the length of this list."""
    monkeypatch.setattr(_IOFile, "checksum", _IOFile.checksum)
    monkeypatch.setattr(scheduling, "_known", {})
    scheduling.remember()
    found: list[int] = []
    digest = hashlib.file_digest

    def counted(*given: Any) -> Any:
        found.append(1)
        return digest(*given)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return found


def taken(path: Path, **settings: Any) -> str | None:
    cache = SimpleNamespace(active=False)
    file = IOFile(str(path))
    file.rule = SimpleNamespace(workflow=SimpleNamespace(iocache=cache))
    return asyncio.run(file.checksum(**{"threshold": LIMIT} | settings))


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, reads: list[int]) -> None:
    path = tmp_path / "of what is read"
    path.write_bytes(b"one")
    assert taken(path) == taken(path) == sha256(b"one")
    assert len(reads) == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert taken(path) == sha256(b"two")
    (tmp_path / "new").write_bytes(b"six")
    os.utime(tmp_path / "new", ns=(1, 1))
    os.replace(tmp_path / "new", path)
    assert taken(path) == sha256(b"six")
    assert len(reads) == 3


def test_files_that_have_none_have_none(tmp_path: Path, reads: list[int]) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(LIMIT + 1))
    assert taken(path) is None
    assert taken(path, threshold=LIMIT + 1) == sha256(bytes(LIMIT + 1))
    assert taken(tmp_path / "missing") is None
    assert taken(path, force=True) == sha256(bytes(LIMIT + 1))


def test_it_takes_what_the_method_that_it_replaces_takes() -> None:
    theirs, ours = (inspect.signature(way).parameters for way in (scheduling._read, scheduling.checksum))
    assert [(name, theirs[name].default) for name in list(theirs)[1:]] == [
        (name, ours[name].default) for name in list(ours)[1:]
    ]


def scheduler(rate: str) -> Any:
    return SimpleNamespace(job_rate_limiter=JobRateLimiter(MaxJobsPerTimespan.parse_choice(rate)))


def test_the_default_rate_is_snakemake_s_and_is_dropped() -> None:
    given = get_argument_parser().get_default("max_jobs_per_timespan")
    made = scheduler(given)
    scheduling.wait_for_jobs(made)
    assert made.job_rate_limiter is None
    scheduling.wait_for_jobs(made)


def test_a_rate_that_was_asked_for_stays() -> None:
    made = scheduler("5/1m")
    scheduling.wait_for_jobs(made)
    assert made.job_rate_limiter.max_jobs == 5


def test_a_run_looks_for_jobs_to_start_when_one_has_ended(tmp_path: Path) -> None:
    """By its own word: as often as jobs end, and not every second beside."""
    rules = ROOT / "workflow/rules/common.smk"
    assert "scheduling.wait_for_jobs(workflow.scheduler)" in rules.read_text()
    (tmp_path / "Snakefile").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'workflow')!r})\nimport scheduling\n"
        "onstart:\n    scheduling.wait_for_jobs(workflow.scheduler)\n"
        "rule all:\n    input: ['a', 'b']\n"
        "rule one:\n    output: '{name}'\n    wildcard_constraints: name='a|b'\n"
        "    shell: 'sleep 3; touch {output}'\n"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--verbose", "--scheduler", "greedy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert 2 <= done.stderr.count("Ready jobs:") <= 3, done.stderr
