"""The embedded GPT-2: six layers of width 160, read in windows of 128 tokens.

Every window starts with <|endoftext|> (TransformerLens' prepend_bos), so that position 0 always holds the
same token and the SAEs can leave it out.
"""

import json
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Int64, Integer
from torch import Tensor, nn
from tqdm import tqdm

from fsrl import files

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


def windows(
    stream: Integer[np.ndarray, "n_tokens"], rows: Integer[np.ndarray, "windows"], end: int = 0
) -> tuple[Int64[Tensor, "windows context"], Int64[Tensor, "windows context"]]:
    """Inputs and targets of the given windows: inputs are END, then the targets before."""
    targets = np.stack([stream[r * N_CTX : (r + 1) * N_CTX] for r in rows]).astype(np.int64)
    inputs = np.concatenate([np.full((len(rows), 1), end), targets[:, :-1]], axis=1)
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def loss_of(
    model: Any, inputs: Int64[Tensor, "windows context"], targets: Int64[Tensor, "windows context"]
) -> Float[Tensor, ""]:
    """Mean cross entropy in nats per token."""
    logits = model(input_ids=inputs).logits
    return nn.functional.cross_entropy(logits.float().view(-1, logits.shape[-1]), targets.reshape(-1))


@torch.no_grad()
def evaluate(model: Any, stream: Integer[np.ndarray, "n_tokens"], batch: int = 64) -> float:
    """Nats per token over all whole windows of a stream (each starts afresh behind END: no context is carried
    over).
    """
    total, n = 0.0, len(stream) // N_CTX
    for start in range(0, n, batch):
        inputs, targets = windows(stream, np.arange(start, min(start + batch, n)))
        total += loss_of(model, inputs, targets).item() * len(inputs)
    return total / n


REPORT_EVERY = 50


@dataclass(frozen=True)
class Training:
    """The settings of one run; steps, not seconds, so that the run can be repeated."""

    steps: int
    windows_per_step: int
    muon_lr: float
    adam_lr: float
    weight_decay: float
    warmup_steps: int
    decay_share: float
    seed: int
    checkpoint_every: int = 200
    workers: int = 2


def window_order(n_tokens: int, step: int, windows_per_step: int, seed: int) -> Int64[np.ndarray, "windows"]:
    """The windows of one step: a seeded permutation per epoch, so that a resumed run reads what it would
    have.
    """
    n_windows = n_tokens // N_CTX
    epoch, within = divmod(step, n_windows // windows_per_step)
    return _epoch_order(n_windows, seed, epoch)[within * windows_per_step : (within + 1) * windows_per_step]


@lru_cache(maxsize=1)
def _epoch_order(n_windows: int, seed: int, epoch: int) -> Int64[np.ndarray, "{n_windows}"]:
    return np.random.default_rng([seed, epoch]).permutation(n_windows)


def learning_rate(step: int, settings: Training) -> float:
    """Factor on the learning rates: linear warm-up, constant, then linear decay to zero at the last step."""
    decay_start = settings.steps * (1 - settings.decay_share)
    falling = (settings.steps - step) / max(settings.steps - decay_start, 1)
    return min(1.0, (step + 1) / settings.warmup_steps, falling)


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by five Newton-Schulz steps (Jordan et al. 2024; scaled as in Liu et al. 2025).

    torch.optim.Muon does the same in bfloat16 only, which costs a third of each step on a CPU without bf16
    units; this one works in the gradient's precision, and takes query, key and value as three matrices.
    """

    def __init__(
        self, parameters: list[nn.Parameter], *, lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix [d_in, k * d_out]."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                momentum = state.setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 1 - group["momentum"])
                blocks = 3 if p.shape[1] == 3 * p.shape[0] else 1
                nesterov = p.grad.lerp(momentum, group["momentum"]).unflatten(1, (blocks, -1)).transpose(0, 1)
                update = orthogonalised(nesterov).transpose(0, 1).flatten(1)
                scale = 0.2 * max(nesterov.shape[1:]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def orthogonalised(
    matrices: Float[Tensor, "batch rows columns"], steps: int = 5
) -> Float[Tensor, "batch rows columns"]:
    """The nearest semi-orthogonal matrices, roughly: singular values end in 0.7..1.2."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


def optimizers(model: nn.Module, settings: Training) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for everything else."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and ".h." in name else others).append(parameter)
    muon = Muon(matrices, lr=settings.muon_lr, weight_decay=settings.weight_decay)
    adam = torch.optim.AdamW(others, lr=settings.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return [muon, adam]


def average_gradients(model: nn.Module, world: int) -> None:
    """Replace each worker's gradients by their mean, in one message."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.view(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


class _Run:
    """One worker's model, optimizers and place in the run."""

    def __init__(self, folder: Path, settings: Training, d_vocab: int, rank: int, world: int) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.settings, self.rank, self.world = settings, rank, world
        torch.manual_seed(settings.seed)
        self.model = new_model(d_vocab).to(self.device)
        self.optimizers = optimizers(self.model, settings)
        self.checkpoint = folder / "checkpoint.pt"
        self.first = 0
        self.curve: list[dict[str, float]] = []
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.first, self.curve = state["step"], state["curve"]
        self.loss = torch.compile(loss_of)
        # bfloat16 only where there are units for it: emulated, it is five times slower than float32.
        self.bf16 = self.device == "cuda" or torch.cpu._is_amx_tile_supported()

    def save(self, step: int) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": step,
            "curve": self.curve,
        }
        with files.atomic_write(self.checkpoint) as partial:
            torch.save(state, partial)

    def step(self, stream: np.ndarray, step: int) -> float:
        """One optimizer step on this worker's share of the step's windows; its loss in nats per token."""
        share = self.settings.windows_per_step // self.world
        order = window_order(len(stream), step, self.settings.windows_per_step, self.settings.seed)
        inputs, targets = windows(stream, order[self.rank * share : (self.rank + 1) * share])
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16):
            loss = self.loss(self.model, inputs.to(self.device), targets.to(self.device))
        loss.backward()
        if self.world > 1:
            average_gradients(self.model, self.world)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * learning_rate(step, self.settings)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def train(self, stream: np.ndarray) -> None:
        """Steps from the checkpoint's to the last, saving on the way (worker 0 alone writes and reports)."""
        settings = self.settings
        recent: list[float] = []  # since the last report, or since the run was taken up again
        steps = range(self.first, settings.steps)
        bar = tqdm(steps, initial=self.first, total=settings.steps, disable=self.rank > 0, mininterval=10)
        for step in bar:
            recent.append(self.step(stream, step))
            done = step + 1
            if done % REPORT_EVERY == 0:
                nats = sum(recent) / len(recent)
                self.curve.append({"step": done, "train_nats": nats})
                bar.set_postfix(nats=f"{nats:.3f}")
                recent.clear()
            if self.rank == 0 and (done % settings.checkpoint_every == 0 or done == settings.steps):
                self.save(done)


def _worker(rank: int, world: int, stream_path: str, folder: str, settings: Training, d_vocab: int) -> None:
    if world > 1:
        torch.set_num_threads(1)
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world
        )
    run = _Run(Path(folder), settings, d_vocab, rank, world)
    run.train(np.memmap(stream_path, dtype=np.uint16, mode="r"))
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


def train(stream_path: Path, folder: Path, settings: Training, d_vocab: int) -> None:
    """Train, or go on from folder/checkpoint.pt, which in the end holds the model and its training curve."""
    folder.mkdir(parents=True, exist_ok=True)
    settings_path = folder / "settings.json"
    now = json.dumps(asdict(settings), sort_keys=True)
    if settings_path.exists() and settings_path.read_text() != now:
        (folder / "checkpoint.pt").unlink(missing_ok=True)  # other settings: another run
    settings_path.write_text(now)
    (folder / "rendezvous").unlink(missing_ok=True)
    # glibc hands every large tensor back to the kernel unless told otherwise: seven times slower on a CPU.
    os.environ |= {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "-1",
        "MALLOC_TOP_PAD_": "268435456",
        "OMP_NUM_THREADS": "1",
    }
    world = 1 if torch.cuda.is_available() else settings.workers
    arguments = (world, str(stream_path), str(folder.resolve()), settings, d_vocab)
    torch.multiprocessing.spawn(_worker, args=arguments, nprocs=world)
