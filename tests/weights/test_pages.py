"""Memory that lies in files: what is let go comes back unchanged, and is let go only where that is so."""

import subprocess
import sys

import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.weights import files, pages

MANY = 2**22  # float32 numbers: 16 MiB
LINUX = pytest.mark.skipif(not pages.TOLD, reason="the kernel does not say what lies in files")


def resident(name: str) -> int:
    """KiB of this process's memory of one kind."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))


@LINUX
def test_a_file_s_pages_are_let_go_and_come_back(tmp_path):
    expected = torch.randn(4, MANY // 4)
    files.save(tmp_path / "file", "test", {"matrix": expected}, {})
    read = files.load(tmp_path / "file", "test")[0]["matrix"]
    assert torch.equal(read, expected)
    before = resident("RssFile")
    pages.let_go(read)
    assert before - resident("RssFile") > 0.9 * 4 * MANY / 1024
    assert torch.equal(read, expected)


def test_what_was_written_to_is_kept(tmp_path):
    files.save(tmp_path / "file", "test", {"matrix": torch.zeros(4, MANY // 4)}, {})
    read = files.load(tmp_path / "file", "test")[0]["matrix"]
    read[1, 7] = 3.0
    pages.let_go(read)
    assert read[1, 7] == 3.0


def test_what_lies_in_memory_is_kept():
    matrix = torch.ones(4, MANY // 4)
    pages.let_go(matrix)
    assert bool((matrix == 1).all())


@LINUX
def test_room_is_no_memory_that_must_be_held():
    before = resident("RssAnon")
    matrix = pages.room(4, MANY // 4)
    matrix.fill_(2.0)
    assert matrix.shape == (4, MANY // 4)
    assert resident("RssAnon") - before < 0.1 * 4 * MANY / 1024
    pages.let_go(matrix)
    assert bool((matrix == 2).all())


def test_a_disk_without_room_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(pages.tempfile, "gettempdir", lambda: str(tmp_path))

    def full(handle, start, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages.os, "posix_fallocate", full)
    with pytest.raises(FsrlError, match=rf"{tmp_path}: no room for a matrix of .* set TMPDIR"):
        pages.room(1024, 1024)
    assert list(tmp_path.iterdir()) == []


# What allocators do with room that large tensors left: in a process of its own, as this one has a past.
FOCUS = """
import torch
from fsrl.moments import readings, vocabulary

def anonymous():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

torch.set_num_threads(1)
W_U = torch.randn(256, 2**16)
for _ in range(3):
    torch.ones(2**21, dtype=torch.float64)  # 16 MiB, given back: the allocator keeps such room from now on
known = vocabulary.measure(W_U, W_U.device, 512, map)
before = anonymous()
readings.focus(known, readings.Reading(), map, with_gram=False)
print(anonymous() - before)
"""


@LINUX
def test_reading_a_vocabulary_takes_no_room_that_grows_with_it():
    done = subprocess.run([sys.executable, "-c", FOCUS], capture_output=True, text=True, check=True)
    # All lots together are 128 MiB in float64, one is 1 MiB.
    assert int(done.stdout) < 32 * 1024


def test_there_is_room_where_the_system_cannot_reserve_it(monkeypatch):
    monkeypatch.delattr(pages.os, "posix_fallocate", raising=False)
    matrix = pages.room(3, 5)
    matrix.fill_(4.0)
    assert matrix.shape == (3, 5) and bool((matrix == 4).all())
