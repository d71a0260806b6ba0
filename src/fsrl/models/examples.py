"""The contexts in which features are most active: what a dashboard shows of the text that a feature reads.

Of each context only the position where a feature is most active counts, so that the examples of a feature are
of different contexts. Position 0 is left out of the search and of the windows: it always holds the same first
token, and its residual has 1.2 to 2.4 times the usual norm. Activations are those of the SAE's `encode`.

Contexts are read in batches and only the best k windows of each feature are kept, so that memory grows with
neither the text nor the width of the SAE (but for one part of a batch). Equal activations go to the earlier
context, and within it to the earlier position.

Example: `contexts = windows.windows(tokenizer, text, context=128, contexts=200)`, then
`top_activating(model, sae, "blocks.5.hook_resid_post", contexts, [17])[17][0].record(vocabulary)`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.hooks import layer_of
from fsrl.models.windows import BATCH, FIRST_POSITION
from fsrl.progress import bar

WINDOW = (20, 12)
# [vectors, d_sae] is held for this many vectors at a time: 100 MB for an SAE with 24,576 features.
VECTORS_PER_PART = 1024


@dataclass(frozen=True)
class Example:
    """A window of a context around the position where a feature is most active there.

    context: row of the tokens; position: place of the greatest activation in it; token_ids and values
    (activations) of the window; max_index: place of the greatest activation in the window.
    """

    context: int
    position: int
    token_ids: tuple[int, ...]
    values: tuple[float, ...]
    max_index: int

    @property
    def activation(self) -> float:
        """The greatest activation."""
        return self.values[self.max_index]

    def record(self, vocabulary: Sequence[str]) -> dict[str, Any]:
        """As `fsrl.pages.facts.FeatureFacts.examples` holds it; vocabulary: token id -> token."""
        return {
            "tokens": [vocabulary[token] for token in self.token_ids],
            "values": list(self.values),
            "max_index": self.max_index,
        }


@torch.no_grad()
def top_activating(
    model: Any,
    sae: Any,
    hook_name: str,
    tokens: Tensor,
    features: Iterable[int],
    *,
    k: int = 8,
    window: tuple[int, int] = WINDOW,
    batch_size: int = BATCH,
    progress: bool = False,
) -> dict[int, list[Example]]:
    """Feature -> its k most activating examples, strongest first; fewer where fewer contexts activate it.

    model: HookedTransformer or TransformerBridge, in the form on which the SAE was trained; sae: anything
    with `encode`, from [n, d_in] to [n, d_sae]; hook_name: where the SAE reads, "blocks.5.hook_resid_post";
    tokens: int64 [contexts, positions], position 0 not searched (`fsrl.models.windows.windows`);
    features: rows of the decoder; k: examples of each feature; window: tokens shown before and after the most
    active one, fewer at the ends of a context; batch_size: contexts in one forward pass; progress: show a
    bar. Raises FsrlError for a setting out of range, a hook or a feature that
    there is not, and activations that are NaN.
    """
    read = _reading(model, hook_name, tokens, batch_size, progress)
    return _best_of(read, sae, tokens, features, k, window)


@torch.no_grad()
def at_hook(
    model: Any, hook_name: str, tokens: Tensor, *, batch_size: int = BATCH, progress: bool = False
) -> Float[Tensor, "contexts positions *width"]:
    """What the model holds at a hook, for `top_activating_of`; arguments and errors as `top_activating`.

    4 bytes x contexts x positions x width: 50 MB for 128 contexts of 128 tokens in GPT-2.
    """
    return torch.cat(list(_reading(model, hook_name, tokens, batch_size, progress)))


@torch.no_grad()
def top_activating_of(
    stored: Float[Tensor, "contexts positions *width"],
    sae: Any,
    tokens: Tensor,
    features: Iterable[int],
    *,
    k: int = 8,
    window: tuple[int, int] = WINDOW,
) -> dict[int, list[Example]]:
    """`top_activating` of activations that `at_hook` gave for these tokens."""
    return _best_of(stored.split(BATCH), sae, tokens, features, k, window)


def _best_of(
    read: Iterable[Tensor], sae: Any, tokens: Tensor, features: Iterable[int], k: int, window: tuple[int, int]
) -> dict[int, list[Example]]:
    wanted = _checked(features, k, window)
    if not wanted:
        return {}
    best = _Best(len(wanted), k, tokens.shape[1])
    for stored in read:
        best.add(_encoded(stored, sae, wanted))
    return {feature: best.examples(row, tokens, window) for row, feature in enumerate(wanted)}


def _reading(
    model: Any, hook: str, tokens: Tensor, batch_size: int, progress: bool
) -> Iterator[Float[Tensor, "batch positions *width"]]:
    """Batch after batch of what the model holds at a hook; checked now, read later."""
    _check_input(model, hook, tokens, batch_size)
    batches = bar(tokens.split(batch_size), "examples", show=progress, unit="batch", mininterval=5)
    return (_stored(model, hook, batch) for batch in batches)


def _stored(
    model: Any, hook: str, batch: Int[Tensor, "batch positions"]
) -> Float[Tensor, "batch positions *width"]:
    _, cache = model.run_with_cache(
        batch.to(next(model.parameters()).device),
        names_filter=[hook],
        return_type=None,
        stop_at_layer=0 if hook == "hook_embed" else layer_of(hook) + 1,
    )
    return cache[hook]


def _encoded(
    stored: Float[Tensor, "batch positions *width"], sae: Any, features: list[int]
) -> Float[Tensor, "features batch positions"]:
    """Activations on the CPU; FsrlError for a feature that the SAE lacks."""
    # Heads are one vector to an SAE over hook_z, unless it joins them itself.
    joins = getattr(sae, "hook_z_reshaping_mode", False)
    vectors = (stored if joins else stored.flatten(2)).flatten(0, 1)
    parts = []
    for part in vectors.split(VECTORS_PER_PART):
        found = sae.encode(part)
        if max(features) >= found.shape[-1]:
            raise FsrlError(f"examples: feature {max(features)} of an SAE with {found.shape[-1]} features")
        parts.append(found[:, features].float().cpu())
    return torch.cat(parts).view(*stored.shape[:2], -1).permute(2, 0, 1)


class _Best:
    """The k contexts of greatest activation of each feature, of the contexts seen so far."""

    def __init__(self, n_features: int, k: int, n_positions: int) -> None:
        self.k, self.seen = k, 0
        self.peak = torch.empty(n_features, 0)
        self.context = torch.empty(n_features, 0, dtype=torch.long)
        self.values = torch.empty(n_features, 0, n_positions)

    def add(self, activations: Float[Tensor, "features contexts positions"]) -> None:
        """activations: of the contexts that follow those already seen. Raises FsrlError for NaN."""
        n_features, n_contexts, _ = activations.shape
        peak = activations[:, :, FIRST_POSITION:].amax(-1)
        if peak.isnan().any():
            context = self.seen + int(peak.isnan().any(0).nonzero()[0])
            raise FsrlError(
                f"examples: an activation in context {context} is NaN; check the model and the SAE"
            )
        contexts = torch.arange(self.seen, self.seen + n_contexts).expand(n_features, -1)
        peaks = torch.cat([self.peak, peak], 1)
        # Stable, and earlier contexts come first: they win ties.
        kept = peaks.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        self.peak = peaks.gather(1, kept)
        self.context = torch.cat([self.context, contexts], 1).gather(1, kept)
        held = kept[:, :, None].expand(-1, -1, activations.shape[2])
        self.values = torch.cat([self.values, activations], 1).gather(1, held)
        self.seen += n_contexts

    def examples(
        self, row: int, tokens: Int[Tensor, "contexts positions"], window: tuple[int, int]
    ) -> list[Example]:
        """The examples of the feature in place `row`, strongest first; contexts where it is 0 are none."""
        found = []
        for peak, context, values in zip(self.peak[row], self.context[row], self.values[row], strict=True):
            if peak <= 0:
                break
            position = FIRST_POSITION + int((values[FIRST_POSITION:] == peak).nonzero()[0])
            start = max(FIRST_POSITION, position - window[0])
            shown = slice(start, position + window[1] + 1)
            ids = tokens[context, shown].tolist()
            found.append(
                Example(int(context), position, tuple(ids), tuple(values[shown].tolist()), position - start)
            )
        return found


def _checked(features: Iterable[int], k: int, window: tuple[int, int]) -> list[int]:
    """The features, each once."""
    if k < 1 or min(window) < 0:
        raise FsrlError(
            f"examples: k is {k}, window {tuple(window)}; k must be 1 or more, window two numbers that are 0 "
            "or more"
        )
    try:
        return list(dict.fromkeys(map(arguments.feature, features)))
    except FsrlError as error:
        raise FsrlError(f"examples: feature {error}") from error


def _check_input(model: Any, hook: str, tokens: Tensor, batch_size: int) -> None:
    if hook not in model.hook_dict:
        raise FsrlError(f"examples: the model has no {hook}; check the SAE's hook")
    if tokens.dim() != 2 or tokens.is_floating_point() or tokens.shape[1] <= FIRST_POSITION:
        raise FsrlError(
            f"examples: tokens are {tokens.dtype} {list(tokens.shape)}; give integers [contexts, positions], "
            "each context with its first token and at least one more"
        )
    if batch_size < 1:
        raise FsrlError(f"examples: batch_size {batch_size}; it must be 1 or more")
