"""Whose turn it is on a model. Hooks sit on the model itself, so whoever uses it at once would share them.

One thread at a time runs `HookedModel`s of a model; the others wait. Within a thread calls may lie in one
another (a hook may call the model), and the innermost alone steers.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from fsrl.errors import FsrlError

# Seconds that a thread waits while another one has a block open. That one may in turn be waiting for us, as
# where a block's threads call the model; a mere call ends by itself.
WAIT = 30.0


class Turn:
    """Of one model: which thread has it, and which HookedModel's adapter is in it (None: the plain model)."""

    def __init__(self) -> None:
        self.steering: Any = None
        self._lock = threading.RLock()
        self._thread: int | None = None
        self._depth = self._blocks = 0
        self._since = 0.0  # when the outermost open block began

    @contextmanager
    def taken(self, *, block: bool) -> Iterator[None]:
        """Hold the model; block: while a `with` of the caller's runs, however long that takes.

        FsrlError where another thread's block does not end.
        """
        while not self._lock.acquire(timeout=WAIT):
            if self._blocks and time.monotonic() - self._since >= WAIT:
                raise FsrlError(
                    f"HookedModel: another thread has been in hooks() or disabled() for {WAIT:.0f} s or "
                    "more; leave that block first, or give each thread a model of its own"
                )
        if block and not self._blocks:
            self._since = time.monotonic()
        self._thread, self._depth, self._blocks = threading.get_ident(), self._depth + 1, self._blocks + block
        try:
            yield
        finally:
            self._depth, self._blocks = self._depth - 1, self._blocks - block
            self._thread = self._thread if self._depth else None
            self._lock.release()

    def is_mine(self) -> bool:
        """Whether the calling thread holds the model."""
        return self._thread == threading.get_ident()


_TURNS: WeakKeyDictionary[Any, Turn] = WeakKeyDictionary()
_GUARD = threading.Lock()


def turn_of(model: Any) -> Turn:
    """The one of this model, whichever HookedModel asks."""
    with _GUARD:
        return _TURNS.setdefault(model, Turn())
