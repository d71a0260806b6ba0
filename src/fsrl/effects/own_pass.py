"""The rest of any causal model, by its own forward pass: single positions of models that are no GPT-2.

As in `fsrl.effects.forward`, a position's stream reaches the logits of that position through it alone, and
what later layers read of earlier positions is unchanged. So the model reads one token with the keys and
values of those before it, and at the place its stream is put to what is to be pushed, for all versions of a
site at once. TransformerLens' hooks put it there:

    before a block, at the end     the stream itself is replaced
    between attention and MLP      hook_resid_mid is the MLP's input alone: the block's end is changed as well

Keys and values are kept in a cache of transformers that forgets nothing, whatever windows the attention has.
In a model that does not repeat itself from such a cache every site's window is read anew, whole, up to the
site; `cached` says which it is.
"""

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl.effects import forward
from fsrl.effects.forward import Clean
from fsrl.errors import FsrlError
from fsrl.hooks import Place

logger = logging.getLogger(__name__)

# Of each layer, those of one window's positions.
KeysValues = list[tuple[Float[Tensor, "1 heads positions d_head"], Float[Tensor, "1 heads positions d_head"]]]


@dataclass(frozen=True, eq=False)
class OwnPass:
    """The rest of a model after any place, by the model itself; inputs: what the clean run read.

    norm, eps: of the final norm (`fsrl.models.head`); cached: whether a site's token is read alone, with the
    keys and values before it.
    """

    bridge: Any
    inputs: Int64[Tensor, "contexts positions"]
    norm: str
    eps: float
    cached: bool = True

    @classmethod
    def of(
        cls, bridge: Any, inputs: Int64[Tensor, "contexts positions"], norm: str, clean: Clean
    ) -> "OwnPass":
        """From a TransformerBridge and its clean run over the inputs. FsrlError where the stream between
        attention and MLP is asked for, and the model's hooks don't hold it.
        """
        bridge.requires_grad_(False)
        found = cls(bridge, inputs, norm, bridge.cfg.eps)
        for place in clean.residual:
            if place.mid:
                _check_middle(bridge, inputs[:1], place)
        reason = found._not_cached(clean)
        if reason is not None:
            logger.warning("effects: every site's window is read anew, which is slower: %s", reason)
        return replace(found, cached=reason is None)

    def place(self, hook: str) -> Place:
        """Where directions of a hook are added."""
        return forward.place_in(self.bridge, hook)

    @property
    def described(self) -> str:
        """What the tables' metadata say of it."""
        how = "the keys and values before it" if self.cached else "its window read anew"
        return f"the model's own, a position with {how}"

    @torch.no_grad()
    def push(
        self,
        x: Float[Tensor, "sites versions d_model"],
        place: Place,
        clean: Clean,
        contexts: Int64[Tensor, "sites"],
        positions: Int64[Tensor, "sites"],
    ) -> Float[Tensor, "sites versions d_model"]:
        """The residual stream at the end when it is x at `place`; contexts, positions: of the sites."""
        if place.layer == len(self.bridge.blocks):
            return x
        final = torch.empty_like(x)
        for context in contexts.unique().tolist():
            sites = (contexts == context).nonzero().squeeze(1)
            past = self._past(context, int(positions[sites].max())) if self.cached else None
            for site in sites.tolist():
                position = int(positions[site])
                added = x[site] - clean.residual[place][context, position]
                final[site] = self._pushed(x[site], added, place, context, position, past)
        return final

    def _pushed(
        self,
        x: Float[Tensor, "versions d_model"],
        added: Float[Tensor, "versions d_model"],
        place: Place,
        context: int,
        position: int,
        past: KeysValues | None,
    ) -> Float[Tensor, "versions d_model"]:
        """One site: the stream at the end when it is x at the place, which is `added` more than it was."""
        n, start = len(self.bridge.blocks), 0 if past is None else position
        caught: list[Tensor] = []

        def change(value: Tensor, replaces: bool, activation: Tensor, hook: Any) -> Tensor:
            """The last position becomes the value, or has it added."""
            changed = activation.clone()
            changed[:, -1] = value if replaces else changed[:, -1] + value
            return changed

        def keep(activation: Tensor, hook: Any) -> None:
            caught.append(activation[:, -1])

        hooks = [(place.name(n), partial(change, x, True))]
        if place.mid:
            hooks.append((Place(place.layer + 1, False).name(n), partial(change, added, False)))
        tokens = self.inputs[context, start : position + 1].expand(len(x), -1)
        given = {} if past is None else {"past_key_values": _first(past, position, len(x)), "use_cache": True}
        with self.bridge.hooks(fwd_hooks=[*hooks, (Place(n, False).name(n), keep)]):
            self.bridge(tokens, return_type=None, **given, **forward.few_logits(self.bridge))
        return caught[0]

    def _past(self, context: int, length: int) -> KeysValues:
        """Keys and values of the first positions of a window."""
        cache = _empty()
        self.bridge(
            self.inputs[context : context + 1, : max(length, 1)],
            return_type=None,
            past_key_values=cache,
            use_cache=True,
            **forward.few_logits(self.bridge),
        )
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _not_cached(self, clean: Clean) -> str | None:
        """Why no cache can be used; None where the model repeats the clean run's last position with one."""
        n, last = len(self.bridge.blocks), self.inputs.shape[1] - 1
        place = min((place for place in clean.residual if place.layer < n), default=None)
        if place is None:
            return None
        site = torch.tensor([0]), torch.tensor([last])
        try:
            repeated = self.push(clean.residual[place][:1, last:], place, clean, *site)
        except Exception as error:  # what a model stumbles over that keeps no keys and values
            return f"{type(error).__name__}: {error}".splitlines()[0][:200]
        worst = forward.difference(repeated[:, 0], clean.final[:1, last])
        return None if worst <= forward.TOLERANCE else f"from a cache it differs by {worst:.1e} from itself"


def _empty() -> Any:
    """A cache of transformers that holds all positions in all layers, sliding windows included."""
    from transformers import DynamicCache

    return DynamicCache()


def _first(past: KeysValues, positions: int, versions: int) -> Any:
    """The first positions of a window's keys and values as a cache for so many versions of the next."""
    cache = _empty()
    for layer, kept in enumerate(past):
        keys, values = (part[:, :, :positions].expand(versions, -1, -1, -1) for part in kept)
        cache.update(keys, values, layer)
    return cache


def _check_middle(bridge: Any, inputs: Int64[Tensor, "1 positions"], place: Place) -> None:
    """Raise FsrlError where hook_resid_mid is not the stream plus what the attention adds to it."""
    before, middle = Place(place.layer, False).name(len(bridge.blocks)), place.name(len(bridge.blocks))
    written = f"blocks.{place.layer}.hook_attn_out"
    with torch.no_grad():
        _, cache = bridge.run_with_cache(inputs, names_filter=[before, middle, written], return_type=None)
    worst = forward.difference(cache[before] + cache[written], cache[middle])
    if not worst <= forward.TOLERANCE:
        raise FsrlError(
            f"effects: {middle} is not the stream plus {written} in this model (off by {worst:.1e} of its "
            "largest value), so nothing can be added there"
        )
