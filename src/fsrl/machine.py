"""The machine that this process runs on: its cores."""

import os


def cores() -> int:
    """How many cores this process may use; all that the machine has where the system cannot say (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
