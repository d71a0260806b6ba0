"""Memory that lies in files: room for a large matrix, and pages of one that need not stay.

What a process maps of a file counts as its resident memory, but the kernel takes such pages back when it
needs them; what it allocates (anonymous memory) it must hold. W_U of 262,144 tokens and d_model 2,304 takes
2.3 GiB: it stays in its file, and so does every copy that a view of it needs.
"""

import ctypes
import mmap
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fsrl.errors import FsrlError

# Linux' own number, as in sys/mman.h; Python's mmap has it too, but not on every system.
_DONTNEED = getattr(mmap, "MADV_DONTNEED", 4)
_SMAPS = Path("/proc/self/smaps")


class _Mapping(NamedTuple):
    """A part of this process's memory; file: whether it is one's; copied: KiB that were written to since."""

    start: int
    end: int
    file: bool
    copied: int


def room(rows: int, columns: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A matrix of any content in a file without a name, which is gone with it.

    It lies where temporary files do (TMPDIR), so give that a disk. Raises FsrlError where there is no room.
    """
    numbers, size = rows * columns, rows * columns * dtype.itemsize
    folder = tempfile.gettempdir()
    handle, path = tempfile.mkstemp(prefix="fsrl-", dir=folder)
    try:
        # Now, if the system can (macOS cannot): a disk that is full later on would end the process unsaid.
        (os.posix_fallocate if hasattr(os, "posix_fallocate") else _stretch)(handle, 0, size)
        return torch.from_file(path, shared=True, size=numbers, dtype=dtype).view(rows, columns)
    except OSError as error:
        raise FsrlError(
            f"{folder}: no room for a matrix of {size / 2**30:.1f} GiB ({error.strerror}); set TMPDIR "
            "to a folder on a disk with more"
        ) from error
    finally:
        os.close(handle)
        os.unlink(path)


def _stretch(handle: int, start: int, size: int) -> None:
    os.ftruncate(handle, start + size)


def let_go(tensor: Tensor) -> None:
    """Let the kernel have the pages of a tensor that lies in a file; whoever reads them next maps them again.

    Nothing where it lies elsewhere, where any page was written to since it was mapped for this process alone
    (that would be lost), and where the system is not Linux.
    """
    if tensor.device.type != "cpu" or not _SMAPS.exists():
        return
    storage = tensor.untyped_storage()
    start, end = storage.data_ptr(), storage.data_ptr() + storage.nbytes()
    page = mmap.PAGESIZE
    first, last = -(-start // page) * page, end // page * page
    for mapping in _mappings():
        if mapping.start <= start and end <= mapping.end and mapping.file and not mapping.copied:
            _libc().madvise(ctypes.c_void_p(first), ctypes.c_size_t(max(last - first, 0)), _DONTNEED)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None)


def _mappings() -> Iterator[_Mapping]:
    """The parts of this process's memory that are large."""
    start = end = 0
    file = False
    with _SMAPS.open() as lines:
        for line in lines:
            name, _, rest = line.partition(" ")
            if not name.endswith(":"):
                low, _, high = name.partition("-")
                start, end = int(low, 16), int(high, 16)
                # Permissions, offset, device, inode: 0 for what is no file's.
                file = rest.split()[3] != "0"
            elif name == "Anonymous:":
                yield _Mapping(start, end, file, int(rest.split()[0]))
