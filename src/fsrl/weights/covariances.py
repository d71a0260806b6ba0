"""Covariances of activations in a file: what `fsrl.models.activations` measures and the nulls read."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fsrl import files
from fsrl.errors import FsrlError


@dataclass(frozen=True, eq=False)
class Covariances:
    """Hook (as asked for) -> covariance, float64 [d_model, d_model]; metadata: text, windows, places."""

    covariance: dict[str, Tensor]
    metadata: dict[str, str]


def write(covariances: Covariances, path: str | Path) -> None:
    """Write a safetensors file, whole or not at all; the same content gives the same bytes."""
    payload = json.dumps({"kind": "covariances", "metadata": covariances.metadata}, sort_keys=True)
    stored = {hook: matrix.contiguous().clone() for hook, matrix in covariances.covariance.items()}
    with files.atomic_write(path) as temporary:
        save_file(stored, temporary, metadata={"fsrl": payload})


def read(path: str | Path) -> Covariances:
    """Read what `write` wrote; FsrlError where the file is missing, broken or something else."""
    if not Path(path).is_file():
        raise FsrlError(f"{path}: no such covariances; build them first")
    try:
        with safe_open(path, framework="pt") as stored:
            header = json.loads((stored.metadata() or {}).get("fsrl", "{}"))
            if header.get("kind") != "covariances":
                raise FsrlError(f"{path}: not an fsrl covariances file; build it again")
            hooks = stored.keys()
            return Covariances({hook: stored.get_tensor(hook) for hook in hooks}, header["metadata"])
    except SafetensorError as error:
        raise FsrlError(f"{path}: broken file ({error}); delete it and build it again") from error
