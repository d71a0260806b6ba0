"""The embedded GPT-2: six layers of width 160, read in windows of 128 tokens.

Every window starts with <|endoftext|> (TransformerLens' prepend_bos), so that position 0 always holds the
same token and the SAEs can leave it out.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

N_CTX = 128


def new_model(d_vocab: int, d_model: int = 160, n_layers: int = 6, n_heads: int = 5) -> Any:
    """A GPT2LMHeadModel without dropout, eager attention (faster here than SDPA once compiled)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(  # type: ignore[call-arg]
        vocab_size=d_vocab, n_positions=N_CTX, n_embd=d_model, n_layer=n_layers, n_head=n_heads,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, use_cache=False,
        attn_implementation="eager",
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def windows(stream: np.ndarray, rows: np.ndarray, end: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and targets [len(rows), N_CTX] of the given windows: inputs are END, then the targets before."""
    targets = np.stack([stream[r * N_CTX : (r + 1) * N_CTX] for r in rows]).astype(np.int64)
    inputs = np.concatenate([np.full((len(rows), 1), end), targets[:, :-1]], axis=1)
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def loss_of(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy in nats per token."""
    logits = model(input_ids=inputs).logits
    return nn.functional.cross_entropy(logits.float().view(-1, logits.shape[-1]), targets.reshape(-1))


@torch.no_grad()
def evaluate(model: Any, stream: np.ndarray, batch: int = 64) -> float:
    """Nats per token over all whole windows of a stream (each starts afresh behind END: no context is carried
    over).
    """
    total, n = 0.0, len(stream) // N_CTX
    for start in range(0, n, batch):
        inputs, targets = windows(stream, np.arange(start, min(start + batch, n)))
        total += loss_of(model, inputs, targets).item() * len(inputs)
    return total / n
