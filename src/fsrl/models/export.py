"""A model's unembedding for the analysis: raw and folded, and which of its tokens training saw often
enough."""

import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from torch import Tensor

from fsrl import devices
from fsrl.errors import FsrlError
from fsrl.models.head import NORMS
from fsrl.models.hub_files import clear_errors
from fsrl.models.reading import Model
from fsrl.nulls import undertrained
from fsrl.weights import columns
from fsrl.weights.matrices import Unembedding

logger = logging.getLogger(__name__)

UNTOLD = "unknown: no view of the study reads them"


def unembedding(
    model: Model,
    *,
    counts_path: str | Path | None,
    min_count: int,
    draws: int,
    seed: int,
    trained: bool = True,
    device: str = "cpu",
) -> Unembedding:
    """W_U of a model, raw and folded, with its tokens and which of them are trained.

    folded: by the kind of the final norm (`fold`), as TransformerLens' compatibility mode does, less its
    centring over the vocabulary, so that a feature's mean logit weight is kept. A token is trained if it
    occurs at least min_count times where counts are known, else by its distance in W_U
    (`fsrl.nulls.undertrained`, with `draws` random directions, on `device`); trained: whether a view reads
    that, False: it is not told by distance. Where it cannot be told the result's is None, with a warning and
    the reason in its metadata. Raises FsrlError for counts that do not fit.
    """
    folded = fold(model.W_U, model.head.gain, model.head.norm, model.head.scale)
    made: dict[str, str] = {}
    counts = None if counts_path is None else read_counts(Path(counts_path), model.W_U.shape[1])
    special, owned = (torch.from_numpy(mark) for mark in (model.vocabulary.special, model.vocabulary.owned))
    holes = None if owned.all() else owned
    mask, criterion = None, UNTOLD
    if counts is not None:
        mask = (counts >= min_count) & owned
        left_out = int((owned & ~mask).sum())
        criterion = f"at least {min_count} occurrences in the training text: {left_out} left out"
    elif trained:
        mask, criterion = _by_distance(model, folded, device, owned=holes, draws=draws, seed=seed)
        made = {f"trained_tokens_{key}": value for key, value in devices.described(device).items()}
    metadata = {
        **model.head.metadata(),
        "trained_tokens": criterion,
        **made,
        **model.metadata,
    }
    return Unembedding(folded, model.W_U, model.tokens, counts, mask, metadata, special, holes)


def _by_distance(
    model: Model, folded: Float[Tensor, "d_model d_vocab"], device: str, **chosen: Any
) -> tuple[Bool[Tensor, "d_vocab"] | None, str]:
    """Which tokens are trained, and how that was told; None, with a warning, where it cannot be."""
    raw, folded = model.W_U.to(device), folded.to(device)
    try:
        found = undertrained.by_distance(raw, folded, model.tokens, spare=model.padding, **chosen)
    except undertrained.NoReferences as error:
        logger.warning("%s", error)
        return None, f"unknown: {error}".replace("undertrained tokens: ", "")
    return found.trained, found.description


def fold(
    W_U: Tensor,
    gain: Tensor | None,
    norm: str = "LayerNorm",
    scale: float = 1.0,
) -> Float[Tensor, "d_model d_vocab"]:
    """W_U with the final norm folded in: v @ folded / s is what v adds to the logits while s, the norm's
    denominator, is held.

    norm: LayerNorm (its gain multiplied in, centred over d_model), RMSNorm (its gain multiplied in) or none;
    W_U: [d_model, d_vocab]; gain: [d_model], what the norm multiplies by: its weight w, or 1 + w in Gemma;
    scale: of the logits. Raises FsrlError for another norm, and for shapes that do not fit.
    """
    if norm not in NORMS or (gain is None) != (norm == "none"):
        raise FsrlError(f"fold: norm is {norm!r}; give LayerNorm or RMSNorm with a gain, or none without")
    if W_U.dim() != 2 or (gain is not None and gain.shape != W_U.shape[:1]):
        given = "none" if gain is None else list(gain.shape)
        raise FsrlError(
            f"fold: W_U has shape {list(W_U.shape)}, gain {given}; give [d_model, d_vocab] and [d_model]"
        )
    if not columns.is_large(W_U):
        return _folded(W_U, gain, norm, scale)
    found = columns.empty(W_U, W_U.shape[1])
    for tile in columns.tiles(W_U, found):
        found[:, tile] = _folded(W_U[:, tile], gain, norm, scale)
    return found


def _folded(
    part: Float[Tensor, "d_model n"], gain: Float[Tensor, "d_model"] | None, norm: str, scale: float
) -> Float[Tensor, "d_model n"]:
    """Some columns of W_U."""
    folded = part if gain is None else gain[:, None] * part
    if norm == "LayerNorm":
        folded = folded - folded.mean(0, keepdim=True)
    return folded if scale == 1 else scale * folded


def read_counts(path: Path, d_vocab: int) -> Int[Tensor, "{d_vocab}"]:
    """How often each token occurs, as the file has it; FsrlError where it is missing or does not fit."""
    if not path.is_file():
        raise FsrlError(f"token counts: {path} is missing; give the path of such a file, or none")
    with clear_errors(path):
        stored = load_file(path)
    if "count" not in stored:
        held = ", ".join(sorted(stored)) or "nothing"
        raise FsrlError(f"{path}: holds {held} and no tensor count; save the counts under that name")
    counts = stored["count"]
    if counts.shape != (d_vocab,):
        raise FsrlError(
            f"{path}: count has shape {list(counts.shape)}, the vocabulary {d_vocab} tokens; give counts of "
            "this vocabulary"
        )
    if counts.dtype != torch.int64:
        raise FsrlError(f"{path}: count has dtype {counts.dtype}; save it as int64")
    if (counts < 0).any():
        at = int((counts < 0).int().argmax())
        raise FsrlError(f"{path}: count is {int(counts[at])} at token {at}; count again, none is below 0")
    return counts
