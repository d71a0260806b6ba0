"""What a safetensors file holds, read from its header alone; lists of tensors' names for messages."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open


class StoredTensor(NamedTuple):
    """A tensor's name, dtype as the format spells it ("F32", "I8") and shape."""

    name: str
    dtype: str
    shape: list[int]

    @property
    def is_real(self) -> bool:
        """Whether it holds floating point: no whole numbers, truth values or complex ones."""
        return self.dtype.startswith(("F", "BF"))


def tensors(path: str | Path) -> list[StoredTensor]:
    """The tensors of a file. Raises what safetensors does for a broken one: see `hub_files.clear_errors`."""
    with safe_open(path, framework="pt") as opened:
        parts = [(name, opened.get_slice(name)) for name in opened.keys()]  # noqa: SIM118 (no dict)
        return [StoredTensor(name, part.get_dtype(), part.get_shape()) for name, part in parts]


def numbers(path: str | Path) -> int:
    """How many numbers a file's tensors have; loads no Torch. Raises what `tensors` does."""
    with safe_open(path, framework="numpy") as opened:
        return sum(math.prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118


def listed(names: Sequence[str], *, most: int, longest: int | None = None) -> str:
    """The first `most` names, each cut after `longest` characters, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(_cut(name, longest) for name in names[:most]) + more


def _cut(name: str, longest: int | None) -> str:
    return name if longest is None or len(name) <= longest else f"{name[:longest]}..."
