"""Files of tensors of one kind: safetensors, with what belongs to them as JSON in the header."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fsrl import files
from fsrl.errors import FsrlError

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
    try:
        with files.atomic_write(path) as temporary:
            save_file(stored, temporary, metadata={"fsrl": payload})
    except SafetensorError as error:  # its writer's own name for what the disk refuses
        raise FsrlError(f"{path}: cannot be written ({error}); make room and run again") from error


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
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
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
