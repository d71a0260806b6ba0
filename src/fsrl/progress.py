"""Bars of long work: shown in a notebook and on a terminal, and nowhere else (jobs' stderr is a file)."""

import sys
from collections.abc import Iterable
from typing import Any


def bar(steps: Iterable[Any], label: str, *, show: bool, **settings: Any) -> Iterable[Any]:
    """The steps, with a bar that counts them if `show`; settings: total, unit, ... of tqdm."""
    if not show:
        return steps
    from tqdm.auto import tqdm

    # disable=None is tqdm's "only on a terminal", which a notebook's stderr is not. There nothing is said, so
    # that TQDM_DISABLE of the environment counts.
    where = {} if in_notebook() else {"disable": None}
    return tqdm(steps, label, **where, **settings)


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook, which shows what is handed to `IPython.display.display`."""
    # Whoever runs in IPython has imported it.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config
