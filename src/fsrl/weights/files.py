"""Files of tensors of one kind: safetensors, with what belongs to them as JSON in the header."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.weights import pages

# As the format spells them.
DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.bool: "BOOL"}
BYTES_AT_ONCE = 2**25
# Bytes of a tensor beyond which its pages are let go as it is read, those of so many parts together.
LARGE = 2**28
TOGETHER = 4
T = TypeVar("T")
P = ParamSpec("P")


def save(path: str | Path, kind: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all; the same content gives the same bytes.

    kind: what the tensors are, in a word that `load` demands. safetensors refuses tensors that share memory.
    Raises FsrlError for what the disk refuses.
    """
    # One metadata key only: safetensors writes several in an order that changes from run to run.
    payload = json.dumps({"kind": kind, **header}, sort_keys=True)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # As safetensors orders them: the widest numbers first, so that each tensor lies where its dtype wants it.
    order = sorted(stored, key=lambda name: (-stored[name].dtype.itemsize, name))
    described: dict[str, Any] = {"__metadata__": {"fsrl": payload}}
    end = 0
    for name in order:
        tensor, start = stored[name], end
        end += tensor.numel() * tensor.dtype.itemsize
        offsets = {"shape": list(tensor.shape), "data_offsets": [start, end]}
        described[name] = {"dtype": DTYPES[tensor.dtype], **offsets}
    about = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    about += b" " * (-len(about) % 8)
    with files.atomic_write(path) as temporary, temporary.open("wb") as opened:
        opened.write(len(about).to_bytes(8, "little") + about)
        for name in order:
            for part in _bytes(stored[name]):
                opened.write(part)


def _bytes(tensor: Tensor) -> Iterator[memoryview]:
    """A tensor's bytes, some at a time (safetensors' own writer copies them all)."""
    flat = tensor.reshape(-1).view(torch.uint8)
    parts = flat.split(BYTES_AT_ONCE)
    for number, part in enumerate(parts, 1):
        yield part.numpy().data
        if len(flat) > LARGE and (number % TOGETHER == 0 or number == len(parts)):
            pages.let_go(tensor)


def named(read: Callable[Concatenate[str | Path, P], T]) -> Callable[Concatenate[str | Path, P], T]:
    """A reader whose errors name the file: what a matrix or a header has against itself knows no path."""

    @wraps(read)
    def reader(path: str | Path, *more: P.args, **settings: P.kwargs) -> T:
        try:
            return read(path, *more, **settings)
        except KeyError as error:
            raise FsrlError(f"{path}: it has no {error}; delete it and build it again") from error
        except FsrlError as error:
            if str(error).startswith(str(path)):
                raise
            raise FsrlError(f"{path}: {error}; delete it and build it again") from error

    return reader


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, dtypes, shapes and bytes (0.1 s for 24576 x 768 floats)."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        for part in _bytes(tensor.detach().cpu().contiguous()):
            found.update(part)
    return found.hexdigest()


def load(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header that `save` wrote; FsrlError where the file is missing, broken or another kind."""
    return _load(path, kind, lambda stored: {name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118


def header(path: str | Path, kind: str) -> dict[str, Any]:
    """The header alone, with the errors of `load`: of a matrix that need not be read."""
    return _load(path, kind, lambda stored: {})[1]


def _load(
    path: str | Path, kind: str, read: Callable[[Any], dict[str, Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not Path(path).is_file():
        raise FsrlError(f"{path}: no such file ({kind}); build it first")
    try:
        with safe_open(path, framework="pt") as stored:
            found = json.loads((stored.metadata() or {}).get("fsrl", "{}"))
            tensors = read(stored)
    except (SafetensorError, OSError, ValueError) as error:
        raise FsrlError(f"{path}: broken file ({error}); delete it and build it again") from error
    if not isinstance(found, dict) or found.pop("kind", None) != kind:
        raise FsrlError(f"{path}: not an fsrl {kind} file; build it again")
    return tensors, found
