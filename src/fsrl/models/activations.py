"""How the residual stream varies on a text: the covariance whose first axis `fsrl.moments.axis_share` reads.

For each residual hook, over all positions of all windows of the text:

    covariance = mean((x - mean(x)) (x - mean(x))^T)       float64, [d_model, d_model], squared residual units

Windows are `context` tokens long and start with what the model wants there (`fsrl.models.windows`); position
0 is left out, since the residual there has 1.2 to 2.4 times the usual norm and never varies. In a model with
LayerNorm x is centred over d_model, as in TransformerLens' processed models, on which SAEs are trained: every
reader of the stream does so anyway. The covariance then has no variance along (1, ..., 1).

A hook that is not in the residual stream (hook_z, a layer's neurons) stands for the stream its directions
write to: hook_resid_post of its layer.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from tqdm import tqdm

from fsrl import devices
from fsrl.errors import FsrlError
from fsrl.hooks import residual_hook
from fsrl.models import checkpoint
from fsrl.models.sources import ModelSource
from fsrl.models.tokenizer import own_tokenizer
from fsrl.models.windows import first_token, first_windows
from fsrl.weights.covariances import Covariances

WINDOWS_PER_BATCH = 16


def second_moments(
    model_folder: str | Path,
    text: str,
    hooks: Sequence[str],
    *,
    context: int,
    max_tokens: int,
    device: str = "cpu",
    progress: bool = True,
) -> Covariances:
    """Covariance of the activations at each hook, through TransformerLens, on the first `max_tokens` of text.

    model_folder: a model in Hugging Face layout; text: passages separated by <|endoftext|>; context: tokens
    in a window, its first one included; max_tokens: bound on the positions read (0: the whole text); device:
    where the model runs and its sums are taken. What does not fill a window is left out. Raises FsrlError for
    an unknown hook, a context that the model does not have, and a text shorter than one window.
    """
    places = {hook: residual_hook(hook) for hook in hooks}
    ModelSource(folder=str(model_folder)).local_files()
    bridge = checkpoint.boot(Path(model_folder), "cpu")
    bridge = bridge if device == "cpu" else bridge.to(device)
    for hook, place in places.items():
        if place not in bridge.hook_dict:
            raise FsrlError(f"activations: {model_folder} has no {place} (for {hook}); check the SAE's hook")
    tokenizer = own_tokenizer(bridge, Path(model_folder))
    inputs = _windows(bridge, tokenizer, text, context, max_tokens).to(device)
    names = sorted(set(places.values()))
    centred = bridge.cfg.normalization_type in ("LN", "LNPre")
    sums = _read(bridge, inputs, names, centred=centred, progress=progress)
    metadata = {
        "model": Path(model_folder).as_posix(),
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "context": str(context),
        "first_token": str(first_token(tokenizer)),
        "positions": str(inputs.shape[0] * (context - 1)),
        "position_0": "left out",
        "centred_over_d_model": json.dumps(centred),
        **devices.described(device),
        "residual_hooks": json.dumps(places, sort_keys=True),
        **{name: version(name) for name in ("torch", "transformer-lens", "transformers")},
    }
    return Covariances({hook: sums[place].covariance() for hook, place in places.items()}, metadata)


class _Sums:
    """Sums of x and x x^T in float64, about the first batch's mean: raw second moments would cancel."""

    def __init__(self) -> None:
        self.n = 0

    def add(self, x: Float64[Tensor, "rows d_model"]) -> None:
        """Add rows."""
        if not self.n:
            d_model = x.shape[1]
            self.origin = x.mean(dim=0)
            self.first, self.second = x.new_zeros(d_model), x.new_zeros(d_model, d_model)
        x = x - self.origin
        self.n += len(x)
        self.first += x.sum(dim=0)
        self.second += x.T @ x

    def covariance(self) -> Float64[Tensor, "d_model d_model"]:
        """Population covariance of all rows."""
        mean = self.first / self.n
        found = self.second / self.n - torch.outer(mean, mean)
        return (found + found.T) / 2


def _read(
    bridge: Any,
    inputs: Int64[Tensor, "windows context"],
    names: Sequence[str],
    *,
    centred: bool,
    progress: bool,
) -> dict[str, _Sums]:
    """Residual hook -> sums over all windows and all positions but 0."""
    sums = {name: _Sums() for name in names}
    batches = inputs.split(WINDOWS_PER_BATCH)
    for batch in tqdm(
        batches, desc="activations", unit="batch", disable=None if progress else True, mininterval=5
    ):
        held = _held(bridge, batch, names)
        for name in names:
            x = held[name][:, 1:].flatten(0, 1).double()
            sums[name].add(x - x.mean(dim=1, keepdim=True) if centred else x)
    return sums


class _ReadAll(Exception):
    """Raised where the model has read its last block."""


@torch.no_grad()
def _held(
    bridge: Any, batch: Int64[Tensor, "windows context"], names: Sequence[str]
) -> dict[str, Float[Tensor, "windows context d_model"]]:
    """What the model holds at residual hooks, without its logits: 2 GiB a batch at 262,144 tokens."""
    held: dict[str, Tensor] = {}

    def keep(tensor: Tensor, hook: Any, name: str) -> None:
        held[name] = tensor

    def stop(*_: Any) -> None:
        raise _ReadAll

    hooks = [(name, partial(keep, name=name)) for name in names]
    norm = bridge.ln_final.register_forward_pre_hook(stop)
    try:
        with suppress(_ReadAll), bridge.hooks(fwd_hooks=hooks):
            bridge(batch, return_type=None)
    finally:
        norm.remove()
    return held


def _windows(
    bridge: Any, tokenizer: Any, text: str, context: int, max_tokens: int
) -> Int64[Tensor, "windows {context}"]:
    if not 2 <= context <= bridge.cfg.n_ctx or max_tokens < 0:
        raise FsrlError(
            f"activations: context is {context} and max_tokens {max_tokens}; context must lie between 2 and "
            f"the model's {bridge.cfg.n_ctx}, max_tokens must be 0 or more"
        )
    return first_windows(tokenizer, text, context=context, max_tokens=max_tokens, d_vocab=bridge.cfg.d_vocab)
