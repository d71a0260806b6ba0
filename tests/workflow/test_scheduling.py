"""Checksums of inputs are Snakemake's own, taken once while a file stays; a run waits for its jobs."""

import asyncio
import hashlib
import inspect
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.cli import get_argument_parser
from snakemake.io import IOFile, _IOFile
from snakemake.settings.types import MaxJobsPerTimespan, SchedulingSettings

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


def test_the_default_rate_is_snakemake_s_and_is_dropped() -> None:
    given = get_argument_parser().parse_args([]).max_jobs_per_timespan
    given = MaxJobsPerTimespan.parse_choice(given) if isinstance(given, str) else given
    assert (given.max_jobs, given.timespan) == scheduling.DEFAULT_RATE
    settings = SchedulingSettings(max_jobs_per_timespan=given)
    scheduling.wait_for_jobs(settings)
    assert settings.max_jobs_per_timespan is None
    scheduling.wait_for_jobs(settings)


def test_a_rate_that_was_asked_for_stays() -> None:
    asked = MaxJobsPerTimespan.parse_choice("5/1m")
    settings = SchedulingSettings(max_jobs_per_timespan=asked)
    scheduling.wait_for_jobs(settings)
    assert settings.max_jobs_per_timespan is asked
