"""The two matrices that everything rests on, checked, and the views of them that the statistics read.

The logit weights of feature i are W_dec[i] @ W_U: logit per unit of feature activation on the direct path,
before the final norm's scale. `Unembedding` holds W_U as stored and folded: the final norm's weight
multiplied in and, for a LayerNorm, the result centred over d_model (`fsrl.models.head`). `Decoder` holds
directions in the residual stream. Both live in safetensors files.

A `View` is one way to look at them: folded or raw W_U; all tokens, or only those that the training text
holds often enough (a few hundred undertrained tokens dominate the kurtosis of every direction); logits or
cosines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.weights import columns, files

# Of a table's metadata: which weights it was made from.
W_U_HASH, W_DEC_HASH = "W_U_sha256", "W_dec_sha256"
# Numbers that are tested for being finite in one go: 16 MiB in float32.
CHECKED_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class Unembedding:
    """W_U of one model, with its vocabulary. Refuses wrong shapes, dtypes, NaN and infinities.

    folded, raw: float32 [d_model, d_vocab]; tokens: d_vocab strings as `fsrl.tokens.text` spells them
    ("Ġthe"); counts: int64 [d_vocab] occurrences in the training text, or None where unknown; trained: bool
    [d_vocab], tokens that training saw often enough (metadata says how that was decided), or None where
    unknown; metadata: provenance; special: bool [d_vocab], special tokens such as <|endoftext|>, or None
    where nobody says; owned: bool [d_vocab], columns that a token owns, or None where all are. No view reads
    the others.
    """

    folded: Tensor
    raw: Tensor
    tokens: tuple[str, ...]
    counts: Tensor | None
    trained: Tensor | None
    metadata: dict[str, str]
    special: Tensor | None = None
    owned: Tensor | None = None

    def __post_init__(self) -> None:
        d_vocab = len(self.tokens)
        for name, matrix in (("folded W_U", self.folded), ("raw W_U", self.raw)):
            _check(name, matrix, torch.float32, (None, d_vocab))
        if self.folded.shape != self.raw.shape:
            raise FsrlError(f"folded W_U is {_shape(self.folded)} but raw W_U is {_shape(self.raw)}")
        if self.counts is not None:
            _check("token counts", self.counts, torch.int64, (d_vocab,))
            if (self.counts < 0).any():
                raise FsrlError(f"token counts: negative at [{int((self.counts < 0).int().argmax())}]")
        marks = {"trained": self.trained, "special": self.special, "owned": self.owned}
        for name, mark in marks.items():
            if mark is not None:
                _check(f"{name} tokens", mark, torch.bool, (d_vocab,))
        _check_metadata("unembedding", self.metadata)


@dataclass(frozen=True, eq=False)
class Decoder:
    """Feature directions of one SAE. Refuses wrong shapes, dtypes, NaN and infinities.

    W_dec: float32 [d_sae, d_model] in the residual stream, what one unit of each feature adds; log10_density:
    float32 [d_sae], log10 of the share of tokens on which each feature fires, NaN where one is unknown, or
    None where all are; sae: its id in the release.
    """

    W_dec: Tensor
    log10_density: Tensor | None
    hook: str
    layer: int
    sae: str
    metadata: dict[str, str]

    def __post_init__(self) -> None:
        _check("W_dec", self.W_dec, torch.float32, (None, None))
        if self.log10_density is not None:
            known = self.log10_density.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
            _check("log10_density", known, torch.float32, (self.W_dec.shape[0],))
        _check_metadata("decoder", self.metadata)


@dataclass(frozen=True, eq=False)
class View:
    """What the statistics read; token_ids: the token of each column of W_U."""

    W_dec: Float32[Tensor, "d_sae d_model"]
    W_U: Float32[Tensor, "d_model n_tokens"]
    token_ids: Int64[Tensor, "n_tokens"]


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise FsrlError naming the first position (in storage order of the indices) that is NaN or infinite."""
    # Part by part: what is compared takes several times the room of what is looked at.
    rows = max(1, CHECKED_AT_ONCE * max(1, len(tensor)) // max(1, tensor.numel())) if tensor.dim() else 1
    for number, part in enumerate(tensor.split(rows) if tensor.dim() else [tensor]):
        finite = torch.isfinite(part)
        if not finite.all():
            position = (~finite).nonzero()[0].tolist()
            value = part[tuple(position)].item()
            position[:1] = [number * rows + first for first in position[:1]]
            raise FsrlError(
                f"{name}: {value} at {position}; every value must be finite, check where it came from"
            )
        columns.let_go(tensor)


def view_unembedding(
    unembedding: Unembedding,
    *,
    w_u: str = "folded",
    tokens: str = "all",
    cosine: bool = False,
) -> tuple[Float32[Tensor, "d_model n_tokens"], Int64[Tensor, "n_tokens"]]:
    """W_U as one view sees it, and the token_ids of its columns.

    w_u: "folded" or "raw"; tokens: "all", or "trained" for those that training saw often enough; cosine:
    centre over the kept tokens, then scale each column to length 1. Raises FsrlError for another setting, for
    trained tokens that are unknown, for no token left, and for a column without direction.
    """
    matrix, token_ids = stored_unembedding(unembedding, w_u=w_u, tokens=tokens)
    if len(token_ids) < matrix.shape[1]:
        matrix = columns.taken(matrix, token_ids)
    if cosine:
        matrix = _unit_columns(matrix, token_ids)
    return matrix, token_ids


def stored_unembedding(
    unembedding: Unembedding, *, w_u: str = "folded", tokens: str = "all"
) -> tuple[Float32[Tensor, "d_model d_vocab"], Int64[Tensor, "n_tokens"]]:
    """The whole W_U that a view reads, no copy, and the token_ids of the columns it keeps.

    Settings and errors are those of `view_unembedding`.
    """
    choices = {"folded": unembedding.folded, "raw": unembedding.raw}
    if w_u not in choices:
        raise FsrlError(f"view: w_u is {w_u!r}; choose folded or raw")
    if tokens not in ("all", "trained"):
        raise FsrlError(f"view: tokens is {tokens!r}; choose all or trained")
    owned = unembedding.owned
    if tokens == "all":
        every = torch.arange(len(unembedding.tokens))
        return choices[w_u], every if owned is None else every[owned]
    if unembedding.trained is None:
        unknown = unembedding.metadata.get("trained_tokens", "unknown; use a view with tokens: all")
        raise FsrlError(f"view: this model's undertrained tokens are {unknown}")
    trained = unembedding.trained if owned is None else unembedding.trained & owned
    token_ids = trained.nonzero().squeeze(1)
    if not len(token_ids):
        raise FsrlError("view: no token counts as trained; lower tokens.min_count")
    return choices[w_u], token_ids


def view(
    decoder: Decoder,
    unembedding: Unembedding,
    *,
    w_u: str = "folded",
    tokens: str = "all",
    cosine: bool = False,
) -> View:
    """Both matrices as one view sees them; the settings are those of `view_unembedding`.

    cosine also scales the decoder's rows to length 1; a zero row stays zero (it has no shape in any view).
    Raises FsrlError where the decoder does not fit the model.
    """
    check_fit(decoder, unembedding)
    matrix, token_ids = view_unembedding(unembedding, w_u=w_u, tokens=tokens, cosine=cosine)
    return View(seen_rows(decoder.W_dec, cosine=cosine), matrix, token_ids)


def check_settings(views: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise FsrlError for a setting that `view` does not know; views: name -> settings.

    That is `transport` too, which others apply to the unembedding first (`fsrl.weights.transport.groups`).
    """
    for name, view in views.items():
        arguments.known_names(f"view {name}", view, ("w_u", "tokens", "cosine"))


def seen_rows(W_dec: Float32[Tensor, "d_sae d_model"], *, cosine: bool) -> Float32[Tensor, "d_sae d_model"]:
    """The decoder's rows as a view sees them: as they are, or `unit_rows` where it reads cosines."""
    return unit_rows(W_dec) if cosine else W_dec


def unit_rows(W_dec: Float32[Tensor, "d_sae d_model"]) -> Float32[Tensor, "d_sae d_model"]:
    """The decoder's rows as a view with cosines sees them: of length 1; a zero row stays zero."""
    norms = W_dec.double().norm(dim=1, keepdim=True)
    return (W_dec / norms.masked_fill(norms == 0, 1.0)).float()


def check_fit(decoder: Decoder, unembedding: Unembedding) -> None:
    """Raise FsrlError where the decoder is not of this model's width."""
    d_model = unembedding.folded.shape[0]
    if decoder.W_dec.shape[1] != d_model:
        raise FsrlError(
            f"decoder {decoder.sae}: d_model is {decoder.W_dec.shape[1]} but the model's is {d_model}; "
            "this SAE was trained on another model"
        )


def no_direction(token: int) -> FsrlError:
    """The error for a token that a view with cosines cannot read."""
    return FsrlError(f"view: token {token} lies at the vocabulary's mean, its cosine is undefined")


def unembedding_hash(unembedding: Unembedding) -> str:
    """Of all that views read of it: both W_U, and which tokens are trained and owned."""
    names = ("folded", "raw", "trained", "owned")
    read = {name: getattr(unembedding, name) for name in names}
    return files.content_hash({name: tensor for name, tensor in read.items() if tensor is not None})


def decoder_hash(decoder: Decoder) -> str:
    """Of its rows."""
    return files.content_hash({"W_dec": decoder.W_dec})


def identified_unembedding(unembedding: Unembedding) -> Unembedding:
    """With `unembedding_hash` in its metadata, and so in that of every table which is made from it."""
    metadata = unembedding.metadata | {W_U_HASH: unembedding_hash(unembedding)}
    return replace(unembedding, metadata=metadata)


def identified_decoder(decoder: Decoder) -> Decoder:
    """With `decoder_hash` in its metadata, and so in that of every table which is made from it."""
    return replace(decoder, metadata=decoder.metadata | {W_DEC_HASH: decoder_hash(decoder)})


def write_unembedding(unembedding: Unembedding, path: str | Path) -> None:
    """Write a safetensors file, whole or not at all; the same content gives the same bytes.

    Raises FsrlError where it cannot be written.
    """
    # safetensors refuses tensors that share memory, as they do where nothing was folded.
    known = {name: getattr(unembedding, name) for name in ("counts", "trained", "special", "owned")}
    raw = unembedding.raw
    shared = raw.untyped_storage().data_ptr() == unembedding.folded.untyped_storage().data_ptr()
    tensors = {"folded": unembedding.folded, "raw": raw.clone() if shared else raw}
    tensors |= {name: tensor for name, tensor in known.items() if tensor is not None}
    files.save(path, "unembedding", tensors, {"tokens": unembedding.tokens, "metadata": unembedding.metadata})


@files.named
def read_unembedding(path: str | Path, device: str = "cpu") -> Unembedding:
    """Read what `write_unembedding` wrote; FsrlError where the file is missing, broken or something else.

    device: where both W_U lie; what else there is lies on the CPU.
    """
    tensors, header = files.load(path, "unembedding")
    return Unembedding(
        tensors["folded"].to(device),
        tensors["raw"].to(device),
        tuple(header["tokens"]),
        tensors.get("counts"),
        tensors.get("trained"),
        header["metadata"],
        tensors.get("special"),
        tensors.get("owned"),
    )


def write_decoder(decoder: Decoder, path: str | Path) -> None:
    """Write a safetensors file, whole or not at all; the same content gives the same bytes.

    Raises FsrlError where it cannot be written.
    """
    tensors = {"W_dec": decoder.W_dec}
    if decoder.log10_density is not None:
        tensors["log10_density"] = decoder.log10_density
    header = {"hook": decoder.hook, "layer": decoder.layer, "sae": decoder.sae, "metadata": decoder.metadata}
    files.save(path, "decoder", tensors, header)


@files.named
def read_decoder(path: str | Path, device: str = "cpu") -> Decoder:
    """Read what `write_decoder` wrote; FsrlError where the file is missing, broken or something else.

    device: where W_dec lies; the densities lie on the CPU.
    """
    tensors, header = files.load(path, "decoder")
    return Decoder(
        tensors["W_dec"].to(device),
        tensors.get("log10_density"),
        header["hook"],
        header["layer"],
        header["sae"],
        header["metadata"],
    )


def _unit_columns(
    matrix: Float32[Tensor, "d_model n_tokens"], token_ids: Int64[Tensor, "n_tokens"]
) -> Float32[Tensor, "d_model n_tokens"]:
    centre, found = columns.mean(matrix).unsqueeze(1), columns.empty(matrix, matrix.shape[1])
    for tile in columns.tiles(matrix, found):
        wide = matrix[:, tile].double() - centre
        norms = wide.norm(dim=0)
        if (norms == 0).any():
            raise no_direction(int(token_ids[tile.start + int((norms == 0).int().argmax())]))
        found[:, tile] = wide / norms
    return found


def _check(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int | None, ...]) -> None:
    expected = "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
    fits = tensor.dim() == len(shape)
    fits = fits and all(size in (None, found) for found, size in zip(tensor.shape, shape, strict=True))
    if not fits or tensor.numel() == 0:
        raise FsrlError(f"{name}: shape is {_shape(tensor)}, expected {expected} and not empty")
    if tensor.dtype != dtype:
        raise FsrlError(f"{name}: dtype is {tensor.dtype}, expected {dtype}")
    check_finite(name, tensor)


def _check_metadata(name: str, metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise FsrlError(f"{name}: metadata {key!r} is {value!r}; keys and values must be text")


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
