"""Writing the embedded model in Hugging Face layout and its SAEs in SAELens layout, as float16.

float16 is only how the numbers are stored: both configs say float32, so that every reader computes in
float32. All reported figures are measured on what is read back from these files.
"""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor

from fsrl.mini.model import N_CTX, new_model
from fsrl.mini.saes import Weights
from fsrl.models import checkpoint

NEVER = 1e-10  # log10 density of a feature that never fired is -10, as SAELens writes it


def write_model(checkpoint: Path, folder: Path, *, d_vocab: int) -> None:
    """The model of a training checkpoint as config.json, generation_config.json and model.safetensors."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = new_model(d_vocab)
    model.load_state_dict(state["model"])
    model.half()
    model.save_pretrained(folder)
    config_path = folder / "config.json"
    config = json.loads(config_path.read_text()) | {"dtype": "float32"}
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "model.safetensors").chmod(0o644)


def write_curve(checkpoint: Path, path: Path) -> None:
    """The training curve of a checkpoint as a table: step, and nats per token over the 50 steps before it."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    lines = ["step\ttrain_nats", *(f"{row['step']}\t{row['train_nats']:.4f}" for row in state["curve"])]
    path.write_text("\n".join(lines) + "\n")


def read_model(folder: Path) -> Any:
    """The model of a folder in float32, ready to evaluate (eager attention)."""
    from transformers import GPT2LMHeadModel

    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager"}
    return checkpoint.pretrained(GPT2LMHeadModel, folder, **options).eval()


def write_sae(
    weights: Weights, fired: Int64[Tensor, "d_sae"], n_tokens: int, hook: str, folder: Path
) -> None:
    """One SAE: cfg.json, sae_weights.safetensors, sparsity.safetensors; fired: activations in n_tokens."""
    from sae_lens import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(
        model_name="mini", hook_name=hook, context_size=N_CTX, prepend_bos=True,
        model_from_pretrained_kwargs={"center_writing_weights": True}, dataset_path="fsrl mini",
    )  # fmt: skip
    d_in, d_sae = weights.W_enc.shape
    sae = StandardSAE(
        StandardSAEConfig(
            d_in=d_in,
            d_sae=d_sae,
            dtype="float32",
            device="cpu",
            apply_b_dec_to_input=False,
            metadata=metadata,
        )
    )
    with torch.no_grad():
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            getattr(sae, name).copy_(getattr(weights, name))
    _, config_path = sae.half().save_model(folder)
    config_path.write_text(json.dumps(json.loads(config_path.read_text()), indent=2, sort_keys=True) + "\n")
    save_file(
        {"sparsity": torch.log10(fired.double() / n_tokens + NEVER).float()}, folder / "sparsity.safetensors"
    )


def read_sae(folder: Path) -> Weights:
    """The weights of a folder in float32, through SAELens."""
    from sae_lens import SAE

    sae = SAE.load_from_disk(folder, device="cpu", dtype="float32")
    return Weights(*(getattr(sae, name).detach().float() for name in ("W_enc", "b_enc", "W_dec", "b_dec")))


def read_densities(folder: Path) -> Float32[Tensor, "d_sae"]:
    """log10 density of each feature."""
    return load_file(folder / "sparsity.safetensors")["sparsity"]
