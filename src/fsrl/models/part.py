"""What is read of a large model: its first blocks, and of what has a row for each token the first `ROWS`.

A model of these parts is booted (`fsrl.models.checkpoint`), which tells what lies between stream and logits.
W_U itself is read from its file (`StoredHead`), some rows at a time and into a file: an embedding of its own
is read no further, and neither is ever held in memory whole.

Which tensors have a row for each token is asked of the model's class: they are those whose shape follows the
config's vocab_size. Which of them is W_U is told by its numbers, whatever the file calls it.
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float32
from safetensors import safe_open
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.models import stored
from fsrl.models.hub_files import clear_errors, shown
from fsrl.weights import columns
from fsrl.weights.matrices import check_finite

# Of each tensor with a row for each token; the tokens that a model is tried with are the first few.
ROWS = 64
Shape = tuple[int, ...]


def cut(config: Any, blocks: int) -> None:
    """Ask for the first blocks alone, in the lists of one entry a block too, and for the first tokens."""
    text = config.get_text_config()
    every = text.num_hidden_layers
    text.num_hidden_layers = min(blocks, every)
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == every:
            setattr(text, name, value[:blocks])
    text.vocab_size = min(ROWS, text.vocab_size)
    for one in (config, text):
        padding = getattr(one, "pad_token_id", None)
        if padding is not None and padding >= text.vocab_size:
            one.pad_token_id = None


def is_beyond(name: str, blocks: int | None) -> bool:
    """Whether a tensor belongs to a block that is left out."""
    number = re.search(r"\.(\d+)\.", name)
    return blocks is not None and number is not None and int(number[1]) >= blocks


def tensors(model_class: Any, config: Any, d_vocab: int, files: Sequence[Path]) -> dict[str, Tensor]:
    """Tensors of the files for a model of `config`, which was `cut` from one of d_vocab tokens, by name.

    model_class: the model's own, no Auto class. They lie in the files, but for the rows of the first tokens:
    blocks that are left out take no memory (another part of the model, which sees images, may have its own).
    """
    whole = copy.deepcopy(config)
    whole.get_text_config().vocab_size = d_vocab
    before, after = _shapes(model_class, whole), _shapes(model_class, config)
    of_tokens = {before[name]: after[name] for name in before if before[name] != after[name]}
    other = {name for name in before if before[name] == after[name]}
    found: dict[str, Tensor] = {}
    for path in files:
        with clear_errors(path), safe_open(path, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (no dict)
                part = opened.get_slice(name)
                wanted = of_tokens.get(tuple(part.get_shape())) if name not in other else None
                found[name] = opened.get_tensor(name) if wanted is None else _first(part, wanted)
    return found


def _first(part: Any, wanted: Shape) -> Tensor:
    return part[tuple(slice(0, size) for size in wanted)].clone()


def _shapes(model_class: Any, config: Any) -> dict[str, Shape]:
    """Of every parameter, by name."""
    with torch.device("meta"):
        model = model_class(copy.deepcopy(config))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@dataclass(frozen=True)
class StoredHead:
    """W_U as a file has it: a tensor [d_vocab, d_model]."""

    path: Path
    name: str
    d_vocab: int

    def columns(self, start: int, stop: int) -> Float32[Tensor, "d_model {stop-start}"]:
        """Some columns of W_U, read in tiles; many of them lie in a file without a name (`columns.empty`).

        Raises FsrlError for a broken file and for a number that is not finite.
        """
        with clear_errors(self.path), safe_open(self.path, framework="pt") as opened:
            part = opened.get_slice(self.name)
            found = columns.empty(torch.empty(part.get_shape()[1], 0), stop - start)
            for tile in columns.tiles(found):
                first, last = start + tile.start, start + tile.stop
                rows = part[first:last].float()
                check_finite(f"{shown(self.path)}: rows {first} to {last - 1} of {self.name}", rows)
                found[:, tile] = rows.T
        return found


def head(files: Sequence[Path], like: Float[Tensor, "d_model rows"], d_vocab: int) -> StoredHead:
    """The tensor whose first rows are these columns of W_U.

    Raises FsrlError where there is none, and where there are several that go on differently.
    """
    shape = [d_vocab, like.shape[0]]
    held = [
        StoredHead(path, tensor.name, d_vocab)
        for path in files
        for tensor in stored.tensors(path)
        if tensor.shape == shape
    ]
    found = [one for one in held if one.columns(0, like.shape[1]).equal(like.float().cpu())]
    if not found:
        names = stored.listed([one.name for one in held], most=2) or "none"
        raise FsrlError(
            f"{shown(files[0])}: W_U as TransformerLens has it is no tensor of the file (of its "
            f"shape: {names}), so that it cannot be read without the whole model"
        )
    if len(found) > 1 and not all(_same(found[0], one) for one in found[1:]):
        names = stored.listed([one.name for one in found], most=2)
        raise FsrlError(f"{shown(files[0])}: {names} begin alike and differ; one of them must be W_U")
    return found[0]


def _same(one: StoredHead, other: StoredHead) -> bool:
    steps = range(0, one.d_vocab, columns.TILE // ROWS)
    ranges = [(start, min(start + columns.TILE // ROWS, one.d_vocab)) for start in steps]
    return all(one.columns(*rows).equal(other.columns(*rows)) for rows in ranges)
