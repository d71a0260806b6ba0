"""Tables that a process keeps for whoever asks again, up to so many rows."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import pandas as pd


class Kept:
    """Tables by what they were made of; beyond `rows` in all those go that were asked for longest ago."""

    def __init__(self, rows: int) -> None:
        self._rows, self._lock = rows, threading.Lock()
        self._tables: OrderedDict[Hashable, pd.DataFrame] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The table of this key, made if it is not here; not to be changed."""
        with self._lock:
            if key in self._tables:
                self._tables.move_to_end(key)
                return self._tables[key]
        table = make()  # not under the lock: it takes minutes
        with self._lock:
            self._tables[key] = table
            while sum(map(len, self._tables.values())) > self._rows:
                self._tables.popitem(last=False)
        return table
