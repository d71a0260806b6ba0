"""Torch's threads on a CPU: one for each of several workers side by side, not all of them for every step."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def single(device: torch.device) -> Iterator[int]:
    """Within, Torch uses one thread on a CPU; gives how many it had, 1 on another device."""
    threads = torch.get_num_threads()
    if device.type != "cpu":
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


@contextmanager
def workers(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """As many workers as Torch had threads, of one thread each; on another device one.

    What a worker computes has the same bytes, however many there are.
    """
    with single(device) as count:
        # BLAS goes by the thread that calls it, and in a new one by the environment: it would take all the
        # threads for a product, and add it up in another order.
        alone: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (1,)}
        with ThreadPoolExecutor(count, **(alone if device.type == "cpu" else {})) as pool:
            yield pool
