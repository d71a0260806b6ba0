"""The forward passes behind measured effects: one clean run, then single positions pushed to the end.

A vector added at position p reaches the logits of position p through position p alone: what later layers read
from earlier positions, their keys and values, is unchanged. So with the keys and values of the clean run at
hand only one position has to be carried from the hook to the end, for all (feature, position) pairs at once.
`Tail` is that part of a GPT-2, written out; other models do it themselves (`fsrl.effects.own_pass`). Either
is checked against the model's own forward pass on every run (nothing added must give the clean residual) and
against hooks in the tests.

Where a direction is added (`place_of`): at hook_resid_* in the residual stream itself; directions of hook_z
(through W_O), hook_attn_out, hook_mlp_out and of neurons (rows of W_out) lie in the residual stream already
and are added where these write, after the attention or the MLP of their block, which is the same sum.
(A TransformerBridge's own hook_resid_mid is the MLP's input alone; what is added there skips the sum.)
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from fsrl.effects import scope
from fsrl.errors import FsrlError
from fsrl.hooks import Place, in_block, place_of

# Largest difference from the model's own forward pass, relative to the largest value, in float32.
TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Block:
    """The weights of one block."""

    ln1_w: Float[Tensor, "d_model"]
    ln1_b: Float[Tensor, "d_model"]
    W_Q: Float[Tensor, "heads d_model d_head"]
    b_Q: Float[Tensor, "heads d_head"]
    W_K: Float[Tensor, "heads d_model d_head"]
    b_K: Float[Tensor, "heads d_head"]
    W_V: Float[Tensor, "heads d_model d_head"]
    b_V: Float[Tensor, "heads d_head"]
    W_O: Float[Tensor, "heads d_head d_model"]
    b_O: Float[Tensor, "d_model"]
    ln2_w: Float[Tensor, "d_model"]
    ln2_b: Float[Tensor, "d_model"]
    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, "d_mlp"]
    W_out: Float[Tensor, "d_mlp d_model"]
    b_out: Float[Tensor, "d_model"]

    def to(self, *where: Any) -> "Block":
        """The same weights on another device, or of another dtype."""
        return replace(self, **{field.name: getattr(self, field.name).to(*where) for field in fields(self)})


@dataclass(frozen=True, eq=False)
class Clean:
    """What a forward pass leaves behind: keys and values of each layer (none where no `Tail` reads them), the
    residual stream at each place asked for and at the end, and what other hooks hold.
    """

    keys: list[Float[Tensor, "contexts heads positions d_head"]]
    values: list[Float[Tensor, "contexts heads positions d_head"]]
    residual: dict[Place, Float[Tensor, "contexts positions d_model"]]
    final: Float[Tensor, "contexts positions d_model"]
    hooks: dict[str, Float[Tensor, "contexts positions ..."]]


class Rest(Protocol):
    """The rest of a model after any place of the stream. norm, eps: of its final norm."""

    @property
    def norm(self) -> str: ...

    @property
    def eps(self) -> float: ...

    def place(self, hook: str) -> Place:
        """Where directions of a hook are added."""
        ...

    def push(
        self,
        x: Float[Tensor, "sites versions d_model"],
        place: Place,
        clean: Clean,
        contexts: Int64[Tensor, "sites"],
        positions: Int64[Tensor, "sites"],
    ) -> Float[Tensor, "sites versions d_model"]:
        """The residual stream at the end when it is x at `place`; contexts, positions: of the sites."""
        ...


def centred(x: Float[Tensor, "*any d_model"], norm: str = "LayerNorm") -> Float[Tensor, "*any d_model"]:
    """What of the stream the norm reads: all but its mean in a LayerNorm; norm: as in `fsrl.models.head`."""
    return x - x.mean(-1, keepdim=True) if norm == "LayerNorm" else x


def normalise(
    x: Float[Tensor, "*any d_model"], eps: float, norm: str = "LayerNorm"
) -> tuple[Float[Tensor, "*any d_model"], Float[Tensor, "*any 1"]]:
    """The final norm without its weights: x, centred in a LayerNorm, divided by its scale; and the scale, 1
    where there is no norm.
    """
    if norm == "none":
        return x, torch.ones_like(x[..., :1])
    x = centred(x, norm)
    scale = (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return x / scale, scale


@dataclass(frozen=True, eq=False)
class Tail:
    """The blocks of a GPT-2 for one position at a time; `of` reads them from a TransformerBridge, in whose
    memory they stay where the device is the same.
    """

    blocks: list[Block]
    eps: float
    norm = "LayerNorm"

    @classmethod
    def of(cls, bridge: Any, device: str | torch.device = "cpu") -> "Tail":
        """From raw weights. Raises FsrlError for a model that is no GPT-2."""
        odd = scope.unlike_gpt2(bridge.original_model.config.to_dict())
        if odd:
            raise FsrlError(f"effects: {odd}; these blocks are GPT-2's")
        return cls([_block(block).to(device) for block in bridge.blocks], bridge.cfg.eps)

    def place(self, hook: str) -> Place:
        """Where directions of a hook are added."""
        return place_of(hook)

    def push(
        self,
        x: Float[Tensor, "sites versions d_model"],
        place: Place,
        clean: Clean,
        contexts: Int64[Tensor, "sites"],
        positions: Int64[Tensor, "sites"],
    ) -> Float[Tensor, "sites versions d_model"]:
        """The residual stream at the end when it is x at `place`; contexts, positions: of the sites.

        Sites of one context, which share its keys and values, go several times as fast.
        """
        # No copy of them for each site.
        of = contexts[0] if len(contexts) and bool((contexts == contexts[0]).all()) else contexts
        for layer in range(place.layer, len(self.blocks)):
            block = self.blocks[layer]
            if layer > place.layer or not place.mid:
                keys, values = clean.keys[layer][of], clean.values[layer][of]
                x = x + _attend(block, _norm(x, block.ln1_w, block.ln1_b, self.eps), keys, values, positions)
            inner = functional.gelu(
                _norm(x, block.ln2_w, block.ln2_b, self.eps) @ block.W_in + block.b_in, approximate="tanh"
            )
            x = x + inner @ block.W_out + block.b_out
        return x


def _block(block: Any) -> Block:
    """The weights of one block of a TransformerBridge; no copies (its W_Q, W_in, ... stack those of all)."""
    parts = {f"ln{i}_w": getattr(block, f"ln{i}").weight for i in (1, 2)}
    parts |= {f"ln{i}_b": getattr(block, f"ln{i}").bias for i in (1, 2)}
    parts |= {name: getattr(block.attn, name) for name in Block.__annotations__ if name[-1] in "QKVO"}
    parts |= {name: getattr(block.mlp, name) for name in ("W_in", "b_in", "W_out", "b_out")}
    return Block(**{name: part.detach() for name, part in parts.items()})


def _norm(
    x: Float[Tensor, "*any d_model"],
    weight: Float[Tensor, "d_model"],
    bias: Float[Tensor, "d_model"],
    eps: float,
) -> Float[Tensor, "*any d_model"]:
    return functional.layer_norm(x, x.shape[-1:], weight, bias, eps)


def _attend(
    block: Block,
    x: Float[Tensor, "sites versions d_model"],
    keys: Float[Tensor, "*of heads positions d_head"],
    values: Float[Tensor, "*of heads positions d_head"],
    positions: Int64[Tensor, "sites"],
) -> Float[Tensor, "sites versions d_model"]:
    """What the attention writes: earlier positions from the clean run, its own anew. x is normalised; keys,
    values: of each site's context, or of the one that all are in.
    """
    held = "mhpe" if keys.dim() == 4 else "hpe"
    q, k, v = (
        torch.einsum("msd,hde->mhse", x, W) + b[:, None]
        for W, b in ((block.W_Q, block.b_Q), (block.W_K, block.b_K), (block.W_V, block.b_V))
    )
    past = torch.arange(keys.shape[-2], device=x.device) < positions[:, None]
    scores = torch.einsum(f"mhse,{held}->mhsp", q, keys).masked_fill(~past[:, None, None], -torch.inf)
    scores = torch.cat([scores, (q * k).sum(-1, keepdim=True)], dim=-1) / q.shape[-1] ** 0.5
    pattern = scores.softmax(-1)
    z = torch.einsum(f"mhsp,{held}->mhse", pattern[..., :-1], values) + pattern[..., -1:] * v
    return torch.einsum("mhse,hed->msd", z, block.W_O) + block.b_O


@torch.no_grad()
def run_clean(
    bridge: Any,
    inputs: Int64[Tensor, "contexts positions"],
    places: Iterable[Place],
    hooks: Iterable[str],
    device: str | torch.device,
    *,
    attention: bool = True,
    progress: bool = True,
) -> Clean:
    """One forward pass over token ids, in batches; what it keeps lies on `device`.

    attention: keep keys and values, which a `Tail` needs; progress: show a bar on a terminal. Raises
    FsrlError for a hook that the model lacks.
    """
    n = len(bridge.blocks)
    names = {place: place.name(n) for place in [*places, Place(n, False)]}
    layers = range(n if attention else 0)
    wanted = {*names.values(), *hooks}
    wanted |= {f"blocks.{layer}.attn.hook_{part}" for layer in layers for part in "kv"}
    if unknown := sorted(wanted - set(bridge.hook_dict)):
        raise FsrlError(f"effects: the model has no {unknown[0]}; check the SAE's hook")
    # Filled in place: a list of batches joined at the end would hold everything twice.
    caught: dict[str, Tensor] = {}
    size = rows(torch.device(device), _context_bytes(bridge.cfg, inputs.shape[1]))
    batches = inputs.split(size)
    hidden = None if progress else True
    for i, batch in enumerate(tqdm(batches, desc="clean run", unit="batch", mininterval=5, disable=hidden)):
        _, cache = bridge.run_with_cache(
            batch, names_filter=sorted(wanted), return_type=None, **few_logits(bridge)
        )
        for name in wanted:
            if name not in caught:
                caught[name] = cache[name].new_empty((len(inputs), *cache[name].shape[1:]), device=device)
            start = i * size
            caught[name][start : start + len(batch)] = cache[name]
    keys, values = (
        [caught[f"blocks.{layer}.attn.hook_{part}"].transpose(1, 2) for layer in layers] for part in "kv"
    )
    residual = {place: caught[name] for place, name in names.items()}
    return Clean(keys, values, residual, residual[Place(n, False)], {name: caught[name] for name in hooks})


def few_logits(bridge: Any) -> dict[str, int]:
    """What makes a model compute logits of one position where none are wanted: all of them take a third of
    the time and most of the memory. Nothing for a model that does not take it.
    """
    known = inspect.signature(bridge.original_model.forward).parameters
    return {"logits_to_keep": 1} if "logits_to_keep" in known else {}


def place_in(bridge: Any, hook: str) -> Place:
    """Where directions of a hook are added in this model, whose blocks may be parallel (`place_of`)."""
    layer = in_block(hook)
    return place_of(
        hook, parallel=layer is not None and Place(layer, True).name(layer + 1) not in bridge.hook_dict
    )


def _context_bytes(cfg: Any, positions: int) -> int:
    """What one context takes on its way through a block, and what is caught of it, float32."""
    block = 4 * cfg.d_mlp + 3 * cfg.n_heads * positions
    return 4 * positions * (block + 4 * cfg.n_layers * cfg.d_model)


@torch.no_grad()
def changes(
    rest: Rest,
    clean: Clean,
    place: Place,
    contexts: Int64[Tensor, "sites"],
    positions: Int64[Tensor, "sites"],
    added: Float[Tensor, "sites vectors d_model"],
) -> Float[Tensor, "sites vectors d_model"]:
    """Change of the normalised stream at the end by vectors added at sites, each on its own.

    contexts, positions: of the sites; a zero vector changes nothing. The change times W_U (folded) is that of
    the logits, norm(x + added) W_U - norm(x) W_U: biases drop out. Raises FsrlError where the rest doesn't
    repeat the clean run.
    """
    at = clean.residual[place][contexts, positions][:, None]
    # The stream as it was is pushed along: rounding is then the same on both sides of the difference.
    pushed = rest.push(torch.cat([at, at + added], dim=1), place, clean, contexts, positions)
    _check_same(pushed[:, 0], clean.final[contexts, positions])
    final, _ = normalise(pushed, rest.eps, rest.norm)
    return final[:, 1:] - final[:, :1]


@torch.no_grad()
def check_repeats(
    tail: Tail,
    clean: Clean,
    place: Place,
    contexts: Int64[Tensor, "sites"],
    positions: Int64[Tensor, "sites"],
) -> None:
    """Raise FsrlError where the tail, given the clean run's stream at a place, doesn't repeat its end."""
    at = clean.residual[place][contexts, positions][:, None]
    pushed = tail.push(at, place, clean, contexts, positions)
    _check_same(pushed[:, 0], clean.final[contexts, positions])


def difference(repeated: Float[Tensor, "*any d_model"], clean: Float[Tensor, "*any d_model"]) -> float:
    """The largest, in units of the clean run's largest value."""
    return float((repeated - clean).abs().max() / clean.abs().max())


def _check_same(repeated: Float[Tensor, "sites d_model"], clean: Float[Tensor, "sites d_model"]) -> None:
    worst = difference(repeated, clean)
    if not worst <= TOLERANCE:
        raise FsrlError(
            f"effects: without anything added the residual stream at the end differs by {worst:.1e} of its "
            "largest value from the model's own forward pass; this model's blocks compute something else"
        )


CPU_BYTES = 64 * 2**20
# Of a core's own cache, what a row of logits and its temporaries may fill on the way through a few steps.
CACHE_BYTES = 2**20
# Of a GPU's free memory; what libraries and the allocator take beside a batch stays well inside the rest.
GPU_SHARE = 1 / 16


def budget(device: torch.device) -> int:
    """Bytes that one batch may take on this device."""
    if device.type != "cuda":
        return CPU_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    # What Torch has reserved and does not use is free to it, but not to the driver.
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int((free + idle) * GPU_SHARE)


def rows(device: torch.device, bytes_each: int) -> int:
    """How many rows, of so many bytes with all their temporaries, go through in one go; at least 1."""
    return max(1, budget(device) // bytes_each)


def rows_in_cache(device: torch.device, copies: int, bytes_each: int) -> int:
    """The same, of so many bytes each and as many copies, where each step reads what the one before it wrote:
    on a CPU so few that this is still in the core's cache.
    """
    return rows(device, copies * bytes_each) if device.type != "cpu" else max(1, CACHE_BYTES // bytes_each)
