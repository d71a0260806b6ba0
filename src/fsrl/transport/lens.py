"""Files of Jacobian lenses (Gurnee et al. 2026; JacobianLens of TransformerLens): written and read.

Such a file, a pickle of torch.save, holds {"J": {l: [d_model, d_model]}, "n_prompts", "source_layers",
"d_model", "metadata"}: J[l] maps the output of block l to that of the last block, whose own J is none. It is
read with weights_only, so that nothing in it is executed.

A published J is a sum over all later positions and leaves the final norm out. With the mean of N over our own
sites, which is T at the last hook, it is read as T_l = N J_l: what a step does to the logits of all later
positions together. Ours, written as J, is the effect on the position itself and has N in it; the file's
metadata says both.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.hooks import Place, place_of
from fsrl.weights.transport import Transport

LATER_POSITIONS = "all later ones, summed"


def write_artifact(transport: Transport, path: str | Path) -> None:
    """Write T at the outputs of blocks as a lens, whole or not at all; float32.

    transport: of `fsrl.transport.fit`, whose metadata says how many blocks the model has. What lies elsewhere
    (before the first block, in the middle of one, after the last) has no place in such a file and is left
    out. Raises FsrlError where nothing remains.
    """
    n = int(transport.metadata["layers"])
    J = {}
    for hook in transport.hooks:
        place = place_of(hook)
        if not place.mid and 0 < place.layer < n:
            J[place.layer - 1] = transport.at(hook).clone()
    if not J:
        raise FsrlError(
            f"{path}: no hook of {', '.join(transport.hooks)} is the output of a block before the last; a "
            "lens holds no other"
        )
    payload = {
        "J": dict(sorted(J.items())),
        "n_prompts": int(transport.metadata["sites"]),
        "source_layers": sorted(J),
        "d_model": transport.T.shape[1],
        "metadata": {"made_by": "fsrl.transport", "final_norm": "in J", **transport.metadata},
    }
    with files.atomic_write(path) as temporary:
        torch.save(payload, temporary)


def read_artifact(path: str | Path, own: Transport) -> Transport:
    """A lens as T at the hooks of its blocks' outputs, for views of the model that `own` was measured in.

    own: with a hook after the last block, where T is the mean of N. Raises FsrlError for a file that is no
    lens, and for one of another model.
    """
    J, said = _read(path)
    N, n = _norm_part(own), int(own.metadata["layers"])
    hooks, matrices = [], []
    for layer, matrix in sorted(J.items()):
        if matrix.shape != N.shape or not 0 <= layer < n - 1:
            raise FsrlError(
                f"{path}: J of block {layer} is {list(matrix.shape)}, and the model has {n} blocks and "
                f"d_model {len(N)}; give the lens of this model"
            )
        T = N @ matrix
        for hook in (f"blocks.{layer}.hook_resid_post", Place(layer + 1, False).name(n)):
            hooks.append(hook)
            matrices.append(T)
    known = {name: own.metadata[name] for name in ("model", "model_sha256", "layers") if name in own.metadata}
    metadata = (
        known | said | {"position": LATER_POSITIONS, "method": "published lens, final norm by our sites"}
    )
    return Transport(torch.stack(matrices), tuple(hooks), metadata)


def _norm_part(own: Transport) -> Float32[Tensor, "d_model d_model"]:
    last = Place(int(own.metadata["layers"]), False)
    for hook in own.hooks:
        if place_of(hook) == last:
            return own.at(hook)
    raise FsrlError(
        "lens: our own matrices have none after the last block, which the final norm is taken from; measure "
        f"them at {last.name(last.layer)} too"
    )


def _read(path: str | Path) -> tuple[dict[int, Float32[Tensor, "d_model d_model"]], dict[str, str]]:
    """J by block, and what the file says of itself."""
    wanted = "give a file of JacobianLens.save"
    if not Path(path).is_file():
        raise FsrlError(f"{path}: no such file; {wanted}")
    try:
        payload: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch have no common one
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise FsrlError(f"{path}: cannot be read as weights alone ({reason}); {wanted}") from error
    J = payload.get("J") if isinstance(payload, dict) else None
    if not isinstance(J, dict) or not J or not all(isinstance(matrix, Tensor) for matrix in J.values()):
        raise FsrlError(f"{path}: holds no J, a matrix for each block; {wanted}")
    said = {
        "sites": str(payload.get("n_prompts", "unknown")),
        "lens_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
    }
    return {int(layer): matrix.float() for layer, matrix in J.items()}, said
