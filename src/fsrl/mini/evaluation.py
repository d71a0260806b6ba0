"""What the embedded model and its SAEs reach on held-out text.

Explained variance is 1 - sum |x - x'|^2 / sum |x - mean(x)|^2; L0 the mean number of active features; CE
recovered (CE_zero - CE_sae) / (CE_zero - CE_model), where the residual at the hook is replaced by zeros or by
x' at every position but 0 (always <|endoftext|>, left out of the SAEs' training too).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from tqdm import tqdm

from fsrl.mini import tokens as mini_tokens
from fsrl.mini.export import read_densities, read_model, read_sae
from fsrl.mini.model import N_CTX, evaluate
from fsrl.mini.saes import Weights, hooks, residuals
from fsrl.moments.frames import ALIVE_LOG10_DENSITY


@torch.no_grad()
def firing_counts(weights: Weights, x: Float[Tensor, "n d_in"], batch: int = 8192) -> Int64[Tensor, "d_sae"]:
    """On how many rows of x each feature is active."""
    fired = torch.zeros(weights.b_enc.shape, dtype=torch.long)
    for start in range(0, len(x), batch):
        fired += (weights.encode(x[start : start + batch].float()) > 0).sum(0)
    return fired


@torch.no_grad()
def reconstruction(weights: Weights, x: Float[Tensor, "n d_in"], batch: int = 8192) -> dict[str, float]:
    """Explained variance and L0 on residuals x."""
    mean = x.double().mean(0)
    unexplained = total = active = 0.0
    for start in range(0, len(x), batch):
        part = x[start : start + batch].float()
        f = weights.encode(part)
        unexplained += (part - weights.decode(f)).double().pow(2).sum().item()
        total += (part.double() - mean).pow(2).sum().item()
        active += (f > 0).sum().item()
    return {"explained_variance": 1 - unexplained / total, "l0": active / len(x)}


@contextmanager
def replaced(model: Any, hook: str, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, the residual [batch, position, d_model] at a hook is function(residual), but for position 0."""
    blocks = model.transformer.h
    place = [*blocks, model.transformer.ln_f][hooks(len(blocks)).index(hook)]

    def replace(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0] - args[0].mean(-1, keepdim=True)
        return (torch.cat([x[:, :1], function(x[:, 1:])], dim=1), *args[1:])

    handle = place.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def cross_entropies(
    model: Any, weights: Weights, hook: str, stream: np.ndarray, clean: float
) -> dict[str, float]:
    """Nats per token with the SAE in place and with the residual zeroed, and the share recovered.

    clean: nats per token of the model as it is, on the same stream.
    """
    with replaced(model, hook, lambda x: weights.decode(weights.encode(x.flatten(0, 1))).view_as(x)):
        through = evaluate(model, stream)
    with replaced(model, hook, torch.zeros_like):
        zeroed = evaluate(model, stream)
    recovered = (zeroed - through) / (zeroed - clean)
    return {"ce_model": clean, "ce_sae": through, "ce_zero": zeroed, "ce_recovered": recovered}


def record(
    folder: Path,
    hooks_of: Mapping[str, str],
    held_out: np.ndarray,
    trigram: dict[str, float],
    *,
    windows: int,
) -> dict[str, Any]:
    """All figures of a trained study in `folder` (model/, folders of SAEs, evaluation_text.txt).

    hooks_of: each SAE's folder within `folder`, of two parts ("saes/NAME", "further_saes/NAME"), and its
    hook; its figures stand under these two parts. The model is judged on every held-out window, the SAEs on
    `windows` of them, spread over all sources; the model and the SAEs' reconstruction again on the text that
    ships, so that anyone can measure them anew.
    """
    model = read_model(folder / "model")
    saes = {sae: (hook, read_sae(folder / sae)) for sae, hook in hooks_of.items()}
    nats = evaluate(model, held_out)
    rows = np.linspace(0, len(held_out) // N_CTX - 1, windows).astype(int)
    part = np.concatenate([held_out[r * N_CTX : (r + 1) * N_CTX] for r in rows])
    clean = evaluate(model, part)
    found = reconstructions(model, saes, part)
    for sae, (hook, weights) in tqdm(saes.items(), mininterval=10, unit="SAE"):
        densities = read_densities(folder / sae)
        dead = (densities < ALIVE_LOG10_DENSITY).float().mean().item()
        found[sae] |= cross_entropies(model, weights, hook, part, clean)
        found[sae] |= {"d_sae": len(densities), "dead_share": dead}
    shipped = mini_tokens.encode_text((folder / "evaluation_text.txt").read_text(), folder / "model")
    return {
        "model": {
            **trigram,
            "nats_per_token": nats,
            "below_trigram": trigram["trigram_nats_per_token"] - nats,
        },
        **_by_folder(found),
        "evaluation_text": {
            "tokens": len(shipped),
            "nats_per_token": evaluate(model, shipped),
            **_by_folder(reconstructions(model, saes, shipped)),
        },
    }


def reconstructions(
    model: Any, saes: Mapping[str, tuple[str, Weights]], stream: np.ndarray
) -> dict[str, dict[str, float]]:
    """Explained variance and L0 of each SAE, given with its hook, on all whole windows of a stream."""
    caught = residuals(model, stream, np.arange(len(stream) // N_CTX))
    return {sae: reconstruction(weights, caught[hook]) for sae, (hook, weights) in saes.items()}


def _by_folder(found: Mapping[str, dict[str, float]]) -> dict[str, dict[str, dict[str, float]]]:
    folders: dict[str, dict[str, dict[str, float]]] = {}
    for sae, figures in found.items():
        folder, name = sae.split("/")
        folders.setdefault(folder, {})[name] = figures
    return folders
