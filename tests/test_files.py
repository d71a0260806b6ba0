"""Files are written whole or not at all; what killed processes leave behind goes, what others need stays."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fsrl import files
from fsrl.errors import FsrlError

GONE = 4194305  # beyond the largest id of a process
HOST = files._host()
KILLED = """
import os, signal, sys
from fsrl import files
with files.{maker} as made:
    {inside}
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(maker: str, inside: str, place: Path) -> None:
    """A process that is killed within a context of `fsrl.files`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(place)}
    code = KILLED.format(maker=maker, inside=inside)
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -signal.SIGKILL


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.tsv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), files.atomic_write(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_the_next_writer_of_a_target_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    target = tmp_path / "a.tsv"
    killed(f"atomic_write({str(target)!r})", "made.write_text('half')", tmp_path)
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".a.tsv.") and left.name.endswith(".tmp")
    with files.atomic_write(target) as temporary:
        temporary.write_text("whole")
    assert list(tmp_path.iterdir()) == [target] and target.read_text() == "whole"


def test_the_next_folder_of_a_kind_removes_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed("temporary_folder('kind')", "(made / 'inner').mkdir()", tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with files.temporary_folder("kind") as other:
        assert list(tmp_path.iterdir()) == [other] and not list(other.iterdir())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "age", "stays"),
    [
        (f".splits.pdf.{GONE}.tmp", 0, False),
        (f".splits.pdf.{GONE}@{HOST}.tmp", 0, False),
        (f".splits.pdf.{10**30}.tmp", 0, False),
        (".splits.pdf.{own}.tmp", 0, True),
        (f".splits.pdf.{{own}}@{HOST}.tmp", 0, True),
        (".splits.pdf.1.tmp", 0, True),  # runs, as another user
        # Nothing is known of another machine's processes; a day of silence is taken for their end.
        (f".splits.pdf.{GONE}@elsewhere.tmp", 0, True),
        (f".splits.pdf.{GONE}@elsewhere.tmp", 2, False),
        (".splits.pdf.tmp", 9, True),
        (f"splits.pdf.{GONE}.tmp", 9, True),
        (f".splits.pdf.{GONE}.tmp.gz", 9, True),
    ],
)
def test_only_what_is_left_behind_is_swept(tmp_path: Path, name: str, age: int, stays: bool) -> None:
    path = tmp_path / name.format(own=os.getpid())
    path.touch()
    when = time.time() - age * 24 * 3600 - 60
    os.utime(path, (when, when))
    files.sweep(tmp_path.iterdir())
    assert path.exists() is stays


def test_writing_leaves_the_temporary_files_of_other_targets_alone(tmp_path: Path) -> None:
    others = [tmp_path / f".b.tsv.{GONE}.tmp", tmp_path / f".a.tsv.gz.{os.getpid()}.tmp"]
    for other in others:
        other.touch()
    with files.atomic_write(tmp_path / "a.tsv") as temporary:
        temporary.touch()
    assert all(other.exists() for other in others)


@pytest.mark.parametrize("name", ["file/a.tsv", "folder", "x" * 300])
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder/inner").mkdir(parents=True)
    target = tmp_path / name
    with pytest.raises(FsrlError) as error, files.atomic_write(target) as temporary:
        temporary.write_text("x")
    assert "cannot be written" in str(error.value) and "give a path" in str(error.value)


def test_a_library_that_cannot_open_the_file_is_understood(tmp_path: Path) -> None:
    """pyarrow names the file in its words alone."""
    target = tmp_path / "a.parquet"
    message = "a.parquet: cannot be written .Is a directory.; give a path"
    with pytest.raises(FsrlError, match=message), files.atomic_write(target) as temporary:
        temporary.mkdir()
        pq.write_table(pa.table({"a": [1]}), temporary)


def test_what_fails_while_writing_for_another_reason_is_not_blamed_on_the_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), files.atomic_write(tmp_path / "a.tsv"):
        (tmp_path / "nowhere").read_text()


def test_texts_are_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    for content in ("naïve\n".encode(), "\ufeffnaïve\n".encode()):
        path.write_bytes(content)
        assert files.read_text(path) == "naïve\n"


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"na\xefve")
    with pytest.raises(
        FsrlError, match=r"text.txt: not a text in UTF-8 \(byte 0xef at 2\); save it as UTF-8"
    ):
        files.read_text(path)
    with pytest.raises(
        FsrlError, match="nowhere.txt: cannot be read .No such file or directory.; give a text"
    ):
        files.read_text(tmp_path / "nowhere.txt")
    with pytest.raises(FsrlError, match="cannot be read .Is a directory"):
        files.read_text(tmp_path)
