"""Files that are written whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsrl.errors import FsrlError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, else it is removed.

    A reader therefore sees the old file or the new one, never a part. The temporary file lies in the same
    folder because a rename is atomic only within one file system. FsrlError where the disk is full.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise FsrlError(f"{target}: cannot be written ({error.strerror}); make room and run again") from error
    finally:
        temporary.unlink(missing_ok=True)
