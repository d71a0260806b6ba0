"""Models and SAEs, through TransformerLens and SAELens, as `Unembedding` and `Decoder`.

This is the only module of the analysis path that imports transformer_lens and sae_lens (five to six seconds
each); everything after it reads the safetensors files that `weights` writes. Local folders only for now: a
model in Hugging Face layout, SAEs in SAELens layout (cfg.json, sae_weights.safetensors and, where known,
sparsity.safetensors with the log10 densities).
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.weights import Decoder, Unembedding

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")
SAE_FILES = ("cfg.json", "sae_weights.safetensors")


def load_unembedding(model_folder: str | Path, *, counts_path: str | Path | None, study: str) -> Unembedding:
    """W_U of a model in a local folder, raw and folded, with its tokens and (where counts_path is given)
    counts.

    folded = diag(ln_f.weight) @ W_U, centred over d_model: what TransformerLens' compatibility mode computes,
    less its centring over the vocabulary, so that a feature's mean logit weight is kept. Raises FsrlError for
    a missing or broken file.
    """
    folder = Path(model_folder)
    _require(folder, MODEL_FILES, "model")
    from transformer_lens.model_bridge import TransformerBridge

    with _clear_errors(folder / "model.safetensors"):
        bridge = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
    raw = bridge.W_U.detach().clone()
    gain = bridge.ln_final.weight.detach()
    tokenizer = bridge.tokenizer
    # GPT-2's vocabulary may be padded to a round size: columns that no token owns are left out.
    raw = raw[:, : len(tokenizer)].contiguous()
    metadata = {
        "study": study,
        "model": folder.as_posix(),
        "model_sha256": _sha256(folder / "model.safetensors"),
        "W_U_processing": "folded: ln_f.weight folded in, centred over d_model; raw: as stored",
        **_versions(),
    }
    return Unembedding(
        folded=fold(raw, gain),
        raw=raw,
        tokens=tuple(tokenizer.convert_ids_to_tokens(list(range(raw.shape[1])))),
        counts=None if counts_path is None else _counts(Path(counts_path), raw.shape[1]),
        metadata=metadata,
    )


def fold(W_U: Tensor, gain: Tensor) -> Tensor:
    """W_U [d_model, d_vocab] with the final LayerNorm's weight [d_model] folded in and the mean over d_model
    removed.
    """
    folded = gain[:, None] * W_U
    return folded - folded.mean(0, keepdim=True)


def load_decoders(
    sae_folder: str | Path, sae_ids: Sequence[str], *, d_model: int, model_name: str, study: str
) -> list[Decoder]:
    """W_dec [d_sae, d_model] of each SAE in sae_folder/{sae_id}, densities where the release ships them.

    Raises FsrlError for a missing or broken file and for an SAE whose d_model is not the model's.
    """
    for sae_id in sae_ids:
        _require(Path(sae_folder) / sae_id, SAE_FILES, f"SAE {sae_id}")
    from sae_lens import SAE

    decoders = []
    for sae_id in sae_ids:
        folder = Path(sae_folder) / sae_id
        weights_path = folder / "sae_weights.safetensors"
        with _clear_errors(weights_path):
            sae = SAE.load_from_disk(str(folder), device="cpu", dtype="float32")
        W_dec = sae.W_dec.detach().float().contiguous()
        if W_dec.shape[1] != d_model:
            raise FsrlError(
                f"{weights_path}: W_dec has d_model {W_dec.shape[1]}, but {model_name} has {d_model}; "
                "this SAE was trained on another model"
            )
        hook = sae.cfg.metadata.hook_name or sae_id
        metadata = {"study": study, "model": model_name, "sae_sha256": _sha256(weights_path), **_versions()}
        decoders.append(
            Decoder(W_dec, _densities(folder, len(W_dec)), hook, layer_of(hook), sae_id, metadata)
        )
    return decoders


def layer_of(hook: str) -> int:
    """The block's number in a TransformerLens hook name, 8 for "blocks.8.hook_resid_pre"."""
    parts = hook.split(".")
    if len(parts) < 3 or parts[0] != "blocks" or not parts[1].isdigit():
        raise FsrlError(f"hook {hook!r}: expected blocks.N.hook_NAME")
    return int(parts[1])


class _clear_errors:
    """Turns what the libraries raise on a broken weights file into one line that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        broken = (SafetensorError, json.JSONDecodeError, KeyError, RuntimeError, OSError)
        if isinstance(error, broken) and not isinstance(error, FsrlError):
            reason = str(error).strip().split("\n")[0][:200]
            raise FsrlError(f"{self.path}: cannot be read ({reason}); fetch this file again") from error


def _require(folder: Path, names: Sequence[str], what: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise FsrlError(f"{what}: {folder / name} is missing; check the folder in config/config.yaml")


def _counts(path: Path, d_vocab: int) -> Tensor:
    if not path.is_file():
        raise FsrlError(f"token counts: {path} is missing; check token_counts in config/config.yaml")
    with _clear_errors(path):
        counts = load_file(path)["count"]
    if counts.shape != (d_vocab,):
        raise FsrlError(f"{path}: count has shape {list(counts.shape)}, the vocabulary has {d_vocab} tokens")
    return counts


def _densities(folder: Path, d_sae: int) -> Tensor | None:
    path = folder / "sparsity.safetensors"
    if not path.is_file():
        return None
    with _clear_errors(path):
        densities = load_file(path)["sparsity"].float()
    if densities.shape != (d_sae,):
        raise FsrlError(f"{path}: sparsity has shape {list(densities.shape)}, the SAE has {d_sae} features")
    return densities


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformer-lens", "sae-lens", "transformers")}
