"""The tensors of an SAE, checked: those that its architecture has, of their shapes, finite floating point."""

from pathlib import Path
from typing import Any

from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.models import stored
from fsrl.models.hub_files import shown
from fsrl.weights.matrices import check_finite

SHOWN, LONGEST = 6, 60  # names that an error lists, characters of each


def check_stored(path: Path, remedy: str) -> None:
    """Raise FsrlError for a tensor of a safetensors file that is stored as something else than floating
    point: SAELens' loaders would convert whole numbers, truth values and complex ones.
    """
    if path.suffix != ".safetensors":
        return
    other = [f"{tensor.name} ({tensor.dtype})" for tensor in stored.tensors(path) if not tensor.is_real]
    if other:
        raise FsrlError(f"{shown(path)}: not floating point: {_listed(other)}; {remedy}")


def check(place: str, tensors: dict[str, Tensor], factor: Tensor | None, empty: Any, remedy: str) -> None:
    """Raise FsrlError unless the tensors are those of the SAE `empty`, of its shapes, and every number is
    finite; factor: of each feature, or None; place: how errors name the file.
    """
    held = dict(tensors)
    shapes = {name: list(tensor.shape) for name, tensor in empty.state_dict().items()}
    if factor is not None:
        held["scaling_factor"], shapes["scaling_factor"] = factor, [empty.cfg.d_sae]
    faults = {
        "missing": [name for name in shapes if name not in held],
        "left over": [name for name in held if name not in shapes],
        "of another shape": [
            f"{name} {list(held[name].shape)}, not {shape}"
            for name, shape in shapes.items()
            if name in held and list(held[name].shape) != shape
        ],
    }
    if any(faults.values()):
        said = "; ".join(f"{fault}: {_listed(names)}" for fault, names in faults.items() if names)
        raise FsrlError(
            f"{place}: not the tensors of a {empty.cfg.architecture()} SAE ({said}); correct the "
            f"architecture in its configuration, or {remedy}"
        )
    for name, tensor in held.items():
        if not tensor.is_floating_point():
            raise FsrlError(f"{place}: not floating point: {name} ({tensor.dtype}); {remedy}")
        try:
            # A threshold that no activation reaches is a feature that never fires.
            check_finite(f"{place}: {name}", tensor.clamp(max=0) if name == "threshold" else tensor)
        except FsrlError as error:
            raise FsrlError(f"{error}; {remedy}") from None


def check_norms(place: str, W_dec: Tensor) -> None:
    """Raise FsrlError for a row without a length to divide by: SAELens' output would not be a number."""
    bad = (1 / W_dec.norm(dim=1)).isinf()
    if bad.any():
        raise FsrlError(
            f"{place}: W_dec of feature {int(bad.int().argmax())} is zero, and rescale_acts_by_decoder_norm "
            f"divides by its norm ({int(bad.sum())} such); take such features out, or give them a direction"
        )


def _listed(names: list[str]) -> str:
    return stored.listed(names, most=SHOWN, longest=LONGEST)
