"""A language model, through TransformerLens: its unembedding and the matrices that write to the stream.

This and `dictionaries` (SAEs) import transformer_lens and sae_lens (five to six seconds each); everything
after them reads the safetensors files that `weights` writes. Whatever the source (hub cache or folder, see
`fsrl.models.sources`), only local files are read here; fetching is `fsrl.models.sources.fetch`.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from fsrl import arguments
from fsrl.models import checkpoint, hub_files, part, sources
from fsrl.models import fit as model_fit
from fsrl.models.head import Head, read_head
from fsrl.models.sources import ModelSource
from fsrl.models.tokenizer import own_tokenizer
from fsrl.tokens.vocabulary import Vocabulary
from fsrl.tokens.vocabulary import read as read_vocabulary
from fsrl.weights import columns

logger = logging.getLogger(__name__)

# Bytes of weights files up to which a model is read whole, whatever is asked for.
SMALL = 2 * 2**30


@dataclass(frozen=True, eq=False)
class Model:
    """A language model as TransformerLens reads it, unprocessed: raw weights in float32.

    bridge: the TransformerBridge; tokenizer: as its files have it (see `own_tokenizer`); head: what lies
    between the residual stream and the logits; columns_of_W_U: from one to another, padding included;
    d_vocab: how many there are; metadata: provenance; n_layers: the model's. Of a large model the bridge may
    have the first blocks and tokens alone.
    """

    source: ModelSource
    bridge: Any
    tokenizer: Any
    head: Head
    columns_of_W_U: Callable[[int, int], Float32[Tensor, "d_model columns"]]
    d_vocab: int
    vocabulary: Vocabulary
    metadata: dict[str, str]
    n_layers: int

    @cached_property
    def W_U(self) -> Float32[Tensor, "d_model d_tokens"]:
        """Without the padding after the last token; of a large model read when it is first asked for."""
        return self.columns_of_W_U(0, len(self.tokens))

    @property
    def padding(self) -> Float32[Tensor, "d_model padding"]:
        """The columns of W_U after the last token's, which no token owns."""
        return self.columns_of_W_U(len(self.tokens), self.d_vocab)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens by id, as `fsrl.tokens.text` spells them."""
        return self.vocabulary.tokens

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.bridge.W_U.shape[0])


def read_model(source: ModelSource, *, blocks: int | None = None) -> Model:
    """The model, from its folder or the hub's cache.

    blocks: how many are wanted beside final norm, W_U and tokens (1 where none is), None for all, to run the
    model; of a large model no others are read, and no embedding but W_U (`fsrl.models.part`). Raises
    FsrlError for a missing or broken file, for weights that are not all in the files
    (`fsrl.models.checkpoint`), and for a model whose logits are not its final norm times W_U
    (`fsrl.models.head`).
    """
    source.local_files()
    hub_files.require(
        source.hub_files(), "fetch it first (fsrl.models.sources.fetch, or `snakemake --cores 1 download`)"
    )
    folder = source.directory()
    stored = sources.weight_files(folder)
    found = weights_sha256(stored)
    large = sum(path.stat().st_size for path in stored) > SMALL
    cut = blocks if large else None
    bridge = checkpoint.boot(folder, "cpu", blocks=cut)
    head = read_head(bridge, source.name)
    tokenizer = own_tokenizer(bridge, folder)
    columns_of_W_U, d_vocab = _columns_of_W_U(bridge, folder, in_part=cut is not None)
    vocabulary = read_vocabulary(tokenizer, d_vocab)
    some = "block 0" if cut == 1 else f"blocks 0 to {(cut or 1) - 1}"
    read = f"W_U, norm and {some}" if cut else "every parameter"
    metadata = {
        "model": source.name,
        "model_revision": "local folder" if source.hub is None else hub_files.commit(folder / "config.json"),
        "model_sha256": found,
        "model_weights": f"{read} read from {_names(stored)}",
        "tokenizer": vocabulary.kind,
        **_versions(),
    }
    if vocabulary.without_row:
        metadata["tokens_without_row"] = str(vocabulary.without_row)
        logger.warning(
            "%s: tokens left out for want of a row in W_U: %d", source.name, vocabulary.without_row
        )
    n_layers = int(checkpoint.text_config(folder).num_hidden_layers if cut else bridge.cfg.n_layers)
    return Model(source, bridge, tokenizer, head, columns_of_W_U, d_vocab, vocabulary, metadata, n_layers)


def _columns_of_W_U(bridge: Any, folder: Path, *, in_part: bool) -> tuple[Callable[[int, int], Tensor], int]:
    """What gives columns of W_U, and how many there are; in_part: whether the bridge has the first alone."""
    W_U = bridge.W_U.detach()
    if not in_part:
        return lambda start, stop: columns.contiguous(W_U[:, start:stop]), W_U.shape[1]
    d_vocab = int(checkpoint.text_config(folder).vocab_size)
    return part.head(sources.weight_files(folder), W_U, d_vocab).columns, d_vocab


def load_model(place: str | Path, device: str | torch.device = "cpu") -> Any:
    """A model to run and to wrap in `fsrl.HookedModel`: a TransformerBridge in compatibility mode, float32.

    Its LayerNorms are folded, its writing weights and W_U centred. place: the folder of a study (with model/
    in it, "data/mini"), a model's folder in Hugging Face layout, or a name on the hub ("gpt2-small"), which
    is fetched unless it is in the cache. Raises FsrlError for a device that is not here, a missing or broken
    file, weights that are not all in the files and a hub that cannot be reached.
    """
    arguments.require(arguments.is_path(place), "load_model", "place", place, "give a folder or a name")
    device = arguments.device(device, "load_model")
    folder = next((path for path in (Path(place) / "model", Path(place)) if path.is_dir()), None)
    if folder is not None:
        # The whole path, which names the same place after a change of the working directory.
        source = ModelSource(folder=str(folder.absolute()))
        source.local_files()
    else:
        source = ModelSource(hub=model_fit.official_name(str(place)) or str(place))
        sources.fetch(source)
    weights_sha256(sources.weight_files(source.directory()))
    bridge = checkpoint.boot(source.directory())
    bridge.cfg.model_name = source.name
    bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge.to(device, print_details=False)


def weights_sha256(files: Sequence[Path]) -> str:
    """sha256 of the file; of several: that of what `sha256sum` prints of them, in the order of their names.

    Raises FsrlError where the hub announced another hash for one of them.
    """
    found = [hub_files.checked_sha256(path) for path in files]
    if len(found) == 1:
        return found[0]
    lines = [f"{digest}  {path.name}\n" for digest, path in zip(found, files, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _names(files: Sequence[Path]) -> str:
    more = f" to {files[-1].name} ({len(files)} files)" if len(files) > 1 else ""
    return files[0].name + more


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformer-lens", "sae-lens", "transformers")}
