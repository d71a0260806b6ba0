"""Training one ReLU sparse autoencoder per residual hook of the embedded model.

f = ReLU(x W_enc + b_enc), x' = f W_dec + b_dec with unit rows of W_dec, on residuals centred over d_model
(what TransformerLens' center_writing_weights gives; every reader of the stream is a LayerNorm, so nothing is
lost). The penalty is concave, s log(1 + f/s), with s falling from a near-L1 start: an L1 penalty alone
shrinks activations and pays for it in explained variance. Its weight is steered so that L0 ends at the wanted
value. Features that have not fired for a while are pointed at what the dictionary explains worst (Bricken et
al. 2023, "neuron resampling"). Position 0 is always <|endoftext|> and is left out.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Integer
from torch import Tensor, nn
from tqdm import tqdm

from fsrl.mini.model import N_CTX, windows


@dataclass(frozen=True)
class SAETraining:
    """The settings of one SAE; tokens are activations seen, with repetition."""

    d_sae: int
    target_l0: float
    tokens: int
    batch: int
    lr: float
    seed: int
    bend_start: float = 4.0
    bend_end: float = 0.5
    resample_every: int = 250


@dataclass
class Weights:
    """An SAE; W_dec: of unit rows."""

    W_enc: Float32[Tensor, "d_in d_sae"]
    b_enc: Float32[Tensor, "d_sae"]
    W_dec: Float32[Tensor, "d_sae d_in"]
    b_dec: Float32[Tensor, "d_in"]

    def encode(self, x: Float32[Tensor, "n d_in"]) -> Float32[Tensor, "n d_sae"]:
        """Feature activations of residuals."""
        return torch.relu(torch.addmm(self.b_enc, x, self.W_enc))

    def decode(self, f: Float32[Tensor, "n d_sae"]) -> Float32[Tensor, "n d_in"]:
        """Reconstruction of residuals from feature activations."""
        return torch.addmm(self.b_dec, f, self.W_dec)


def hooks(n_layers: int) -> list[str]:
    """The residual hooks of a model, TransformerLens names: every resid_pre, and the last resid_post."""
    return [f"blocks.{n}.hook_resid_pre" for n in range(n_layers)] + [
        f"blocks.{n_layers - 1}.hook_resid_post"
    ]


@torch.no_grad()
def residuals(
    model: Any,
    stream: Integer[np.ndarray, "n_tokens"],
    rows: Integer[np.ndarray, "windows"],
    *,
    batch: int = 32,
    progress: bool = False,
) -> dict[str, Float16[Tensor, "positions d_model"]]:
    """Centred residuals of the given windows, position 0 left out, by hook."""
    blocks = model.transformer.h
    names = hooks(len(blocks))
    d_model = model.config.n_embd
    out = {name: torch.empty(len(rows), N_CTX - 1, d_model, dtype=torch.float16) for name in names}
    for start in tqdm(range(0, len(rows), batch), disable=not progress, mininterval=10, unit="batch"):
        inputs, _ = windows(stream, rows[start : start + batch])
        for name, x in zip(names, _block_inputs(model, inputs), strict=True):
            centred = x - x.mean(-1, keepdim=True)
            out[name][start : start + len(inputs)] = centred[:, 1:].half()
    return {name: x.view(-1, d_model) for name, x in out.items()}


def _block_inputs(model: Any, inputs: Tensor) -> list[Tensor]:
    caught: list[Tensor] = []
    blocks = model.transformer.h
    handles = [b.register_forward_pre_hook(lambda _m, args: caught.append(args[0])) for b in blocks]
    # The final LayerNorm reads the residual stream after the last block.
    handles.append(model.transformer.ln_f.register_forward_pre_hook(lambda _m, args: caught.append(args[0])))
    try:
        model.transformer(input_ids=inputs)
    finally:
        for handle in handles:
            handle.remove()
    return caught


def train_sae(
    x: Float[Tensor, "n d_in"], settings: SAETraining, *, progress: bool = False
) -> tuple[Weights, list[dict[str, float]]]:
    """Train on residuals x; gives the weights and the training curve."""
    n, d_in = x.shape
    generator = torch.Generator().manual_seed(settings.seed)
    sample = x[torch.randint(n, (20_000,), generator=generator)].float()
    centre = sample.mean(0)
    scale = math.sqrt(d_in) / (sample - centre).norm(dim=1).mean().item()
    run = _Run((sample - centre) * scale, settings, generator)
    steps = settings.tokens // settings.batch
    curve = []
    for step in tqdm(range(steps), disable=not progress, mininterval=10, unit="step"):
        rows = torch.randint(n, (settings.batch,), generator=generator)
        figures = run.step((x[rows].float() - centre) * scale, step, steps)
        if step % 100 == 0 or step + 1 == steps:
            curve.append({"step": step, **figures})
    return _unscaled(run.weights, centre, scale), curve


class _Run:
    """The weights in training, their optimizer, and the state of penalty and resampling."""

    def __init__(self, sample: Tensor, settings: SAETraining, generator: torch.Generator) -> None:
        picks = torch.randint(len(sample), (settings.d_sae,), generator=generator)
        W_dec = nn.functional.normalize(sample[picks], dim=1)
        b_enc = rare_bias(sample @ W_dec.T, settings.target_l0 / settings.d_sae)
        self.weights = w = Weights(W_dec.T.clone(), b_enc, W_dec, torch.zeros(sample.shape[1]))
        parameters = [w.W_enc, w.b_enc, w.W_dec, w.b_dec]
        for p in parameters:
            p.requires_grad_()
        self.settings, self.generator = settings, generator
        self.adam = torch.optim.Adam(parameters, lr=settings.lr, betas=(0.9, 0.999))
        self.log_weight = math.log(0.01)
        self.fired_at = torch.zeros(settings.d_sae, dtype=torch.long)

    def step(self, batch: Float32[Tensor, "n d_in"], step: int, steps: int) -> dict[str, float]:
        """One optimizer step on scaled residuals; explained variance, L0 and penalty weight."""
        s, w, done = self.settings, self.weights, step / steps
        for group in self.adam.param_groups:
            group["lr"] = s.lr * min(1.0, (step + 1) / 100, (1 - done) / 0.3)
        f = w.encode(batch)
        error = batch - w.decode(f)
        bend = s.bend_start * (s.bend_end / s.bend_start) ** min(1.0, done / 0.6)
        penalty = bend * torch.log1p(f / bend).sum(1).mean()
        loss = error.pow(2).sum(1).mean() / batch.shape[1] + math.exp(self.log_weight) * penalty
        self.adam.zero_grad()
        loss.backward()
        _remove_parallel_gradient(w.W_dec)
        self.adam.step()
        with torch.no_grad():
            w.W_dec.div_(w.W_dec.norm(dim=1, keepdim=True))
            active = f > 0
            l0 = active.sum(1).float().mean().item()
            self.fired_at[active.any(0)] = step
            self.log_weight += 0.02 * max(-1.0, min(1.0, l0 / s.target_l0 - 1))
            if step and step % s.resample_every == 0 and done < 0.7:
                dead = self.fired_at <= step - s.resample_every
                _resample(w, self.adam, batch, error.detach(), dead, s.target_l0 / s.d_sae, self.generator)
            unexplained = (error.pow(2).sum() / (batch - batch.mean(0)).pow(2).sum()).item()
        return {"explained_variance": 1 - unexplained, "l0": l0, "penalty_weight": math.exp(self.log_weight)}


def _remove_parallel_gradient(W_dec: Tensor) -> None:
    """Keep Adam's moments free of the component that the renormalisation of the rows takes away."""
    assert W_dec.grad is not None
    with torch.no_grad():
        W_dec.grad -= (W_dec.grad * W_dec).sum(1, keepdim=True) * W_dec


def rare_bias(projections: Float[Tensor, "n d_sae"], share: float) -> Float[Tensor, "d_sae"]:
    """Bias with which each feature fires on `share` of the rows of projections.

    A feature that starts with bias 0 fires on half of everything; the penalty then drives it down so fast
    that it never fires again.
    """
    k = max(1, round(share * len(projections)))
    return -projections.topk(k, dim=0).values[-1]


def _resample(
    w: Weights,
    adam: torch.optim.Adam,
    batch: Tensor,
    error: Tensor,
    dead: Tensor,
    share: float,
    generator: torch.Generator,
) -> None:
    """Point dead features at inputs chosen by their squared error, to fire on `share` of the batch."""
    index = dead.nonzero().flatten()
    if len(index) == 0:
        return
    chances = error.pow(2).sum(1)
    picks = torch.multinomial(chances, len(index), replacement=len(index) > len(error), generator=generator)
    directions = nn.functional.normalize(error[picks], dim=1)
    w.W_dec[index] = directions
    w.W_enc[:, index] = directions.T
    w.b_enc[index] = rare_bias(batch @ directions.T, share)
    for p, where in ((w.W_dec, (index,)), (w.W_enc, (slice(None), index)), (w.b_enc, (index,))):
        for key in ("exp_avg", "exp_avg_sq"):
            adam.state[p][key][where] = 0.0


def _unscaled(w: Weights, centre: Tensor, scale: float) -> Weights:
    """The same autoencoder for residuals in their own units: x' = (decode(encode((x - c) s))) / s + c."""
    with torch.no_grad():
        W_enc = w.W_enc.detach().clone()
        return Weights(
            W_enc, w.b_enc / scale - centre @ W_enc, w.W_dec.detach().clone(), w.b_dec / scale + centre
        )
