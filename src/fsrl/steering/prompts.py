"""Neutral prompts, and what the end of the stream becomes when a vector is added at their last position.

Two ways to the same numbers: `of_gpt2` carries the last position alone (`fsrl.effects.forward`), the keys and
values of earlier ones at hand; `of_hooks` runs the whole model with a hook, whatever it is, as a notebook
does. From the end x of the stream to the logits: norm(x) @ W_U (folded) + b, b what the model's own logits
have beside it (the final norm's bias times W_U, and constants, which no distribution depends on).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl.effects import forward
from fsrl.errors import FsrlError
from fsrl.hooks import Place
from fsrl.models import windows

# Vectors that go through the whole model together.
VECTORS_AT_ONCE = 64
Push = Callable[[Place, Float[Tensor, "n d_model"]], Float[Tensor, "n prompts d_model"]]


@dataclass(frozen=True, eq=False)
class Distributions:
    """log_Z: logsumexp of the logits; log_q, q: the probabilities; ordered: the logits, ascending."""

    log_Z: Float[Tensor, "prompts"]
    log_q: Float[Tensor, "prompts d_vocab"]
    q: Float[Tensor, "prompts d_vocab"]
    ordered: Float[Tensor, "prompts d_vocab"]

    @classmethod
    def of(cls, logits: Float[Tensor, "prompts d_vocab"]) -> "Distributions":
        """By their logits."""
        log_Z = logits.logsumexp(-1)
        log_q = logits - log_Z[:, None]
        return cls(log_Z, log_q, log_q.exp(), logits.sort(dim=-1).values)


@dataclass(frozen=True, eq=False)
class Prompts:
    """What `push` gives is the end of the stream at each prompt's last position when each vector is added at
    a place there.

    stream: at the last positions, by place; final: at the end; W_U: folded, of every token; offset: see the
    module; eps: of the final norm.
    """

    push: Push
    stream: Mapping[Place, Float[Tensor, "prompts d_model"]]
    final: Float[Tensor, "prompts d_model"]
    W_U: Float[Tensor, "d_model d_vocab"]
    offset: Float[Tensor, "prompts d_vocab"]
    eps: float

    def logits(self, final: Float[Tensor, "*n prompts d_model"]) -> Float[Tensor, "*n prompts d_vocab"]:
        """The logits of streams at the end."""
        return forward.normalise(final, self.eps)[0] @ self.W_U + self.offset

    @cached_property
    def clean(self) -> Float[Tensor, "prompts d_vocab"]:
        """The logits with nothing added."""
        return self.logits(self.final)

    @cached_property
    def before(self) -> Distributions:
        """Of the next token, with nothing added."""
        return Distributions.of(self.clean)

    @cached_property
    def _read(self) -> Float[Tensor, "prompts d_vocab"]:
        return self.read(self.final)

    def read(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_vocab"]:
        """Centred vectors times W_U."""
        return forward.centred(x) @ self.W_U

    def logits_with(
        self, added: Float[Tensor, "n d_model"], read: Float[Tensor, "n d_vocab"]
    ) -> Float[Tensor, "n prompts d_vocab"]:
        """The logits where each vector is added to the streams at the end; read: of the vectors.

        No product for each prompt: only the norm's scale is its own.
        """
        _, scale = forward.normalise(self.final + added[:, None], self.eps)
        return torch.addcdiv(self.offset, self._read + read[:, None], scale)


def tokens_of(
    tokenizer: Any, prompts: Sequence[str], d_vocab: int, n_ctx: int
) -> tuple[Int64[Tensor, "prompts positions"], Int64[Tensor, "prompts"]]:
    """Prompts as token ids, begun as windows of text are, and each one's last position; what follows is
    filler.

    Raises FsrlError for a prompt without text, too long for the model, or with a token that it has no row
    for.
    """
    first = windows.first_token(tokenizer).token_id
    rows = []
    for prompt in prompts:
        ids = tokenizer.backend_tokenizer.encode(prompt, add_special_tokens=False).ids
        row = ids if first is None else [first, *ids]
        if not ids or len(row) > n_ctx or max(row) >= d_vocab:
            raise FsrlError(
                f"steering: the prompt {prompt!r} has {len(ids)} tokens in this model's vocabulary; give "
                f"one with text that it knows, of at most {n_ctx} tokens with the first"
            )
        rows.append(row)
    longest = max(map(len, rows))
    filled = [row + [row[-1]] * (longest - len(row)) for row in rows]
    return torch.tensor(filled), torch.tensor([len(row) - 1 for row in rows])


@torch.no_grad()
def of_gpt2(
    bridge: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    places: Sequence[Place],
    W_U: Float[Tensor, "d_model d_vocab"],
) -> Prompts:
    """Of a raw GPT-2, where it lies; W_U: folded, of every token. Errors of `tokens_of` and `Tail.of`."""
    device = W_U.device
    inputs, last = tokens_of(tokenizer, prompts, bridge.cfg.d_vocab, bridge.cfg.n_ctx)
    inputs, last = inputs.to(device), last.to(device)
    rows = torch.arange(len(inputs), device=device)
    tail = forward.Tail.of(bridge, device)
    clean = forward.run_clean(bridge, inputs, dict.fromkeys(places), [], device, progress=False)
    for place in dict.fromkeys(places):
        forward.check_repeats(tail, clean, place, rows, last)
    stream = {place: found[rows, last] for place, found in clean.residual.items()}

    def push(place: Place, added: Float[Tensor, "n d_model"]) -> Float[Tensor, "n prompts d_model"]:
        """The streams at the end with each vector added at the place of every prompt."""
        at = stream[place][:, None] + added
        # In order: a product with W_U is one then, and not one for each vector.
        return tail.push(at, place, clean, rows, last).transpose(0, 1).contiguous()

    final = clean.final[rows, last]
    logits = bridge(inputs)[rows, last]
    return Prompts(push, stream, final, W_U, _offset(logits, final, W_U, tail.eps), tail.eps)


@torch.no_grad()
def of_hooks(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    places: Sequence[Place],
    W_U: Float[Tensor, "d_model d_vocab"],
) -> Prompts:
    """Of a TransformerBridge or HookedTransformer with a final LayerNorm, processed or not, by its hooks."""
    inputs, last = tokens_of(tokenizer, prompts, model.cfg.d_vocab, model.cfg.n_ctx)
    inputs, last = inputs.to(W_U.device), last.to(W_U.device)
    rows, n = torch.arange(len(inputs), device=W_U.device), model.cfg.n_layers
    end = Place(n, False).name(n)
    names = {place: place.name(n) for place in places}
    logits, cache = model.run_with_cache(inputs, names_filter=[*names.values(), end])
    final = cache[end][rows, last]

    def push(place: Place, added: Float[Tensor, "n d_model"]) -> Float[Tensor, "n prompts d_model"]:
        """The streams at the end with each vector added at the place of every prompt."""
        # A bridge's own hook_resid_mid is the MLP's input alone: what is added there skips the sum.
        hook = f"blocks.{place.layer}.hook_attn_out" if place.mid else names[place]
        parts = [_pushed(model, inputs, last, hook, end, part) for part in added.split(VECTORS_AT_ONCE)]
        return torch.cat(parts)

    stream = {place: cache[name][rows, last] for place, name in names.items()}
    eps = float(model.cfg.eps)
    return Prompts(push, stream, final, W_U, _offset(logits[rows, last], final, W_U, eps), eps)


def _pushed(
    model: Any,
    inputs: Int64[Tensor, "prompts positions"],
    last: Int64[Tensor, "prompts"],
    hook: str,
    end: str,
    added: Float[Tensor, "n d_model"],
) -> Float[Tensor, "n prompts d_model"]:
    """The end of the stream of every vector in every prompt, by the whole model."""
    n, prompts = len(added), len(inputs)
    rows, at = torch.arange(n * prompts, device=inputs.device), last.repeat(n)
    vectors = added.repeat_interleave(prompts, dim=0)
    caught: dict[str, Tensor] = {}

    def add(activation: Tensor, hook: Any) -> Tensor:
        """The activation with each row's vector at its last position."""
        changed = activation.clone()
        changed[rows, at] += vectors.to(activation)
        return changed

    def catch(activation: Tensor, hook: Any, name: str) -> None:
        """Keep the end of the stream."""
        caught[name] = activation

    hooks = [(hook, add), (end, partial(catch, name=end))]
    model.run_with_hooks(inputs.repeat(n, 1), fwd_hooks=hooks, return_type=None)
    return caught[end][rows, at].view(n, prompts, -1)


def _offset(
    logits: Float[Tensor, "prompts d_logits"],
    final: Float[Tensor, "prompts d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
    eps: float,
) -> Float[Tensor, "prompts d_vocab"]:
    return logits[:, : W_U.shape[1]].to(W_U) - forward.normalise(final, eps)[0] @ W_U
