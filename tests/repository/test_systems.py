"""Library and workflow run on any Unix: what Linux alone has is asked for before it is used."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Of Python's `os`, what macOS lacks, as the manual of 3.11 says.
LINUX = {
    *("copy_file_range", "eventfd", "getrandom", "memfd_create", "pidfd_open", "splice"),
    *("sched_getaffinity", "sched_setaffinity", "sched_getscheduler", "sched_setscheduler"),
    *("posix_fadvise", "posix_fallocate", "setresuid", "setresgid", "getresuid", "getresgid"),
    *("O_DIRECT", "O_TMPFILE", "O_NOATIME", "O_PATH"),
}
# Folders that other systems do not have, wherever in a text they stand.
FOLDERS = re.compile(r"(?<![\w.])/(?:proc|sys|run|dev/shm)(?![\w.-])")


def linux_alone(text: str) -> Iterator[str]:
    """What of Python code (rules included) another system has not: names of `os`, folders of the kernel's."""
    asked = set(re.findall(r"hasattr\(os, \"(\w+)\"\)", text))
    yield from (name for name in re.findall(r"\bos\.(\w+)", text) if name in LINUX - asked)
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            yield from FOLDERS.findall(line)


def sources() -> list[Path]:
    """What runs outside tests and benchmarks."""
    found = [
        path for place in ("src/fsrl", "workflow", "docs", "notebooks") for path in (ROOT / place).rglob("*")
    ]
    return [ROOT / "Snakefile", ROOT / "Makefile", *(p for p in found if p.suffix in (".py", ".smk"))]


def test_nothing_needs_linux() -> None:
    assert {
        str(path.relative_to(ROOT)): found
        for path in sources()
        if (found := [*linux_alone(path.read_text())])
    } == {}
    assert len(sources()) > 200


@pytest.mark.parametrize(
    "text",
    [
        'Path("/proc/self/smaps")',
        'open(f"/proc/{os.getpid()}/status")',
        'glob("/sys/class/net")',
        'TMP = "/dev/shm"',
        "len(os.sched_getaffinity(0))",
        "os.open(path, os.O_TMPFILE)",
    ],
)
def test_what_linux_alone_has_is_found(text: str) -> None:
    ast.parse(text)
    assert [*linux_alone(text)]


@pytest.mark.parametrize(
    "text",
    [
        'if hasattr(os, "sched_getaffinity"):\n    n = len(os.sched_getaffinity(0))',
        "os.open(path, os.O_CREAT)\n# Linux has it in /proc",
        'read("data/process/sys/run")',
    ],
)
def test_what_is_everywhere_is_not(text: str) -> None:
    assert not [*linux_alone(text)]


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="Linux has all of them")
def test_the_names_are_python_s() -> None:
    """A name that is spelt wrong would never be found (glibc may lack some)."""
    assert len({name for name in LINUX if hasattr(os, name)}) >= len(LINUX) - 2
