"""Memory that lies in files: room for a large matrix, and pages of one that need not stay.

What a process maps of a file counts as its resident memory, but the kernel takes such pages back when it
needs them; what it allocates (anonymous memory) it must hold. W_U of 262,144 tokens and d_model 2,304 takes
2.3 GiB: it stays in its file, and so does every copy that a view of it needs.
"""

import ctypes
import mmap
import os
import tempfile
from functools import cache
from typing import Any

import psutil
import torch
from torch import Tensor

from fsrl.errors import FsrlError

# Only there does the system say which pages of a mapped file are a process's own.
TOLD = psutil.LINUX and hasattr(psutil.Process, "memory_maps")


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
    (that would be lost), and where the system is not Linux. To ask takes some hundredths of a second.
    """
    if tensor.device.type != "cpu" or not TOLD:
        return
    storage = tensor.untyped_storage()
    start, end = storage.data_ptr(), storage.data_ptr() + storage.nbytes()
    if _in_a_file_alone(start, end):
        page = mmap.PAGESIZE
        first, last = -(-start // page) * page, end // page * page
        _libc().madvise(ctypes.c_void_p(first), ctypes.c_size_t(max(last - first, 0)), mmap.MADV_DONTNEED)


def _in_a_file_alone(start: int, end: int) -> bool:
    """Whether these addresses are one mapped file's, and no page of its mapping is a copy of this process."""
    for mapping in psutil.Process().memory_maps(grouped=False):
        low, high = (int(bound, 16) for bound in mapping.addr.split("-"))
        if low <= start and end <= high:
            # What is no file's has a name in brackets, or none.
            return mapping.path.startswith("/") and not mapping.anonymous
    return False


@cache
def _libc() -> Any:
    return ctypes.CDLL(None)
