"""Covariances of activations in a file: what `fsrl.models.activations` measures of a text."""

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float64
from torch import Tensor

from fsrl.weights import files


@dataclass(frozen=True, eq=False)
class Covariances:
    """Hook (as asked for) -> covariance of its activations; metadata: text, windows, places."""

    covariance: dict[str, Float64[Tensor, "d_model d_model"]]
    metadata: dict[str, str]


def write(covariances: Covariances, path: str | Path) -> None:
    """Write a safetensors file, whole or not at all; the same content gives the same bytes."""
    # Two hooks may be given one tensor; a file may not share memory.
    stored = {hook: matrix.clone() for hook, matrix in covariances.covariance.items()}
    files.save(path, "covariances", stored, {"metadata": covariances.metadata})


@files.named
def read(path: str | Path) -> Covariances:
    """Read what `write` wrote; FsrlError where the file is missing, broken or something else."""
    tensors, header = files.load(path, "covariances")
    return Covariances(tensors, header["metadata"])
