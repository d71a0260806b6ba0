"""Files of Jacobian lenses (Gurnee et al. 2026; JacobianLens of TransformerLens): written and read.

Such a file, a pickle of torch.save, holds {"J": {l: [d_model, d_model]}, "n_prompts", "source_layers",
"d_model", "metadata"}: J[l] maps the output of block l to that of the last block, whose own J is none. It is
read with weights_only, so that nothing in it is executed.

Such a J leaves the final norm out: a reader applies the model's own to J x (`JacobianLens.readout`), and a
view takes N J_l for T_l, N the mean over our own sites, which is T at the last hook. Published J are sums
over all later positions: what a step does to the logits of these together. Ours is the effect on the position
itself, and the file's metadata says so. Read back, N J is not our T, the mean of each site's own N J. A lens
knows the outputs of blocks alone: not the stream before the first block, nor between attention and MLP.
"""

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.hooks import Place, place_of
from fsrl.weights.transport import Transport

# What J is of, where a file does not say.
LATER_POSITIONS = "all later ones, summed"
COMMIT = re.compile(r"[0-9a-f]{40}")


def write_artifact(transport: Transport, path: str | Path) -> None:
    """Write J at the outputs of blocks as a lens, whole or not at all; float32, the same bytes each time.

    transport: of `fsrl.transport.fit`, with J where hooks write there. What lies elsewhere (before the first
    block, in the middle of one, after the last) has no place in such a file. Raises FsrlError where there is
    no J.
    """
    if not transport.J:
        raise FsrlError(
            f"{path}: no hook of {', '.join(transport.hooks)} is the output of a block before the last; a "
            "lens holds no other"
        )
    # How far T may be off says nothing of J. JacobianLens holds a revision against the model's commit on the
    # hub, which a model from a folder has none of.
    said = {key: value for key, value in transport.metadata.items() if key != "split_half_error"}
    if not COMMIT.fullmatch(said.get("model_revision", "")):
        said.pop("model_revision", None)
    payload = {
        "J": {block: matrix.clone() for block, matrix in sorted(transport.J.items())},
        "n_prompts": int(transport.metadata["sites"]),
        "source_layers": sorted(transport.J),
        "d_model": transport.T.shape[1],
        "metadata": {"made_by": "fsrl.transport", **said},
    }
    # The name of a file that torch writes to is in its bytes.
    content = io.BytesIO()
    torch.save(payload, content)
    with files.atomic_write(path) as temporary:
        temporary.write_bytes(content.getvalue())


def read_artifact(
    path: str | Path, own: Transport, hooks: Sequence[str], *, name: str, model: str | None = None
) -> Transport:
    """A lens as T at `hooks`, for views of the model that `own` was measured in; after the last block T is N.

    own: of `fsrl.transport.fit`, with a hook after the last block, where T is the mean of N; name: what names
    the lens in tables; model: the model's name on the hub, None where it has none. Raises FsrlError for a
    file that is no lens, one of another model, and a hook that it has no J for.
    """
    lens, n = _read(path), _n_layers(own)
    N = _norm_part(own)
    _check_model(lens, own, model, len(N))
    matrices = []
    for hook in dict.fromkeys(hooks):
        place = _place(hook, own)
        if place == Place(n, False):
            matrices.append(N)
            continue
        J = None if place.mid else lens.J.get(place.layer - 1)
        if J is None:
            raise FsrlError(
                f"{path}: the lens has no J at {hook} (it has the outputs of blocks "
                f"{', '.join(map(str, sorted(lens.J)))}); name the SAEs elsewhere under ids, or leave the "
                "view out of the study"
            )
        matrices.append(N @ J)
    known = {key: own.metadata[key] for key in ("model", "model_sha256", "layers") if key in own.metadata}
    metadata = known | {
        "sites": lens.n_prompts,
        "lens": name,
        "lens_sha256": lens.sha256,
        "position": str(lens.metadata.get("position", LATER_POSITIONS)),
        "method": "lens, final norm by our sites",
    }
    return Transport(torch.stack(matrices), tuple(dict.fromkeys(hooks)), metadata)


def _n_layers(transport: Transport) -> int:
    return int(transport.metadata["layers"])


def _place(hook: str, transport: Transport) -> Place:
    return place_of(hook, parallel=transport.metadata.get("parallel_blocks") == "true")


def _norm_part(own: Transport) -> Float32[Tensor, "d_model d_model"]:
    last = Place(_n_layers(own), False)
    for hook in own.hooks:
        if _place(hook, own) == last:
            return own.at(hook)
    raise FsrlError(
        "lens: our own matrices have none after the last block, which the final norm is taken from; measure "
        f"them at {last.name(last.layer)} too"
    )


@dataclass(frozen=True, eq=False)
class _Lens:
    """What a file holds: J by block, and what it says of itself."""

    path: str | Path
    J: dict[int, Float32[Tensor, "d_model d_model"]]
    n_prompts: str
    metadata: dict[str, Any]
    sha256: str


def _check_model(lens: _Lens, own: Transport, model: str | None, d_model: int) -> None:
    """Raise FsrlError for a lens of another model, as far as shapes and the file's metadata tell."""
    n, said = _n_layers(own), lens.metadata
    for layer, matrix in sorted(lens.J.items()):
        if list(matrix.shape) != [d_model, d_model] or not 0 <= layer < n - 1:
            raise FsrlError(
                f"{lens.path}: J of block {layer} is {list(matrix.shape)}, and the model has {n} blocks and "
                f"d_model {d_model}; give the lens of this model"
            )
    if (target := said.get("target_layer", n - 1)) != n - 1:
        raise FsrlError(
            f"{lens.path}: the lens leads to the output of block {target}, and the model's last is {n - 1}; "
            "give one that leads to the end"
        )
    known = own.metadata.get("model_sha256")
    other_weights = known and said.get("model_sha256", known) != known
    fitted = said.get("model_name")
    other_name = model is not None and fitted is not None and not _same_name(str(fitted), model)
    if other_weights or other_name:
        raise FsrlError(
            f"{lens.path}: the lens is of {said.get('model', fitted)}, and the study's model is "
            f"{own.metadata.get('model', model)}; give the lens of this model"
        )


def _same_name(fitted: str, model: str) -> bool:
    """Whether two names of a model on the hub can be one's: gpt2 and openai-community/gpt2."""
    return fitted.rsplit("/", 1)[-1].lower() == model.rsplit("/", 1)[-1].lower()


def _read(path: str | Path) -> _Lens:
    wanted = "give a file of JacobianLens.save"
    if not Path(path).is_file():
        raise FsrlError(f"{path}: no such file; {wanted}")
    try:
        payload: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch have no common one
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise FsrlError(f"{path}: cannot be read as weights alone ({reason}); {wanted}") from error
    J = payload.get("J") if isinstance(payload, dict) else None
    if not isinstance(J, dict) or not J or not all(_is_of_block(*one) for one in J.items()):
        raise FsrlError(f"{path}: holds no J, a matrix for each block; {wanted}")
    metadata = payload.get("metadata")
    return _Lens(
        path,
        {int(layer): matrix.float() for layer, matrix in J.items()},
        str(payload.get("n_prompts", "unknown")),
        metadata if isinstance(metadata, dict) else {},
        hashlib.sha256(Path(path).read_bytes()).hexdigest(),
    )


def _is_of_block(layer: Any, matrix: Any) -> bool:
    return str(layer).isdigit() and isinstance(matrix, Tensor)
