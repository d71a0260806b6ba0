"""The same Jacobian of any causal model, by reverse-mode automatic differentiation through its own code.

A window is read as often as there are `rows` at a time, and each copy is asked for one row of
∂x_end,t/∂x_l,t (`fsrl.transport.closed_form`): the derivative of one number at position t of the end by the
whole stream at every place, of which position t is taken. One forward pass and d_model / rows backward passes
a site. This is how JacobianLens.fit of TransformerLens goes, which sums over positions.
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl.effects import forward
from fsrl.errors import FsrlError
from fsrl.hooks import Place


def jacobians(
    bridge: Any,
    tokens: Int64[Tensor, "positions"],
    position: int,
    places: Collection[Place],
    *,
    rows: int,
) -> tuple[dict[Place, Float[Tensor, "d_model d_model"]], Float[Tensor, "d_model"]]:
    """∂x_end/∂x at one position of a window, at each of `places`; and x_end, the stream's end there.

    rows: derivatives taken at a time.
    """
    # What comes after the position does not reach it.
    caught = _run(bridge, tokens[: position + 1].expand(rows, -1), places)
    n = len(bridge.blocks)
    final = caught[Place(n, False)]
    x_end = final[0, position].detach()
    ones = torch.eye(len(x_end), dtype=x_end.dtype, device=x_end.device)
    found = {place: torch.empty_like(ones) for place in places}
    if Place(n, False) in found:
        found[Place(n, False)] = ones
    earlier = [place for place in places if place.layer < n]
    for start in range(0, len(ones) if earlier else 0, rows):
        asked = torch.zeros_like(final)
        part = ones[start : start + rows]
        asked[: len(part), position] = part
        gradients = torch.autograd.grad(
            final, [caught[place] for place in earlier], asked, retain_graph=start + rows < len(ones)
        )
        for place, gradient in zip(earlier, gradients, strict=True):
            found[place][start : start + rows] = gradient[: len(part), position]
    return found, x_end


def check_places(bridge: Any, places: Mapping[str, Place]) -> None:
    """Raise FsrlError for a hook whose place in the stream the model does not have; places: by hook."""
    for hook, place in places.items():
        name = place.name(len(bridge.blocks))
        if name not in bridge.hook_dict:
            raise FsrlError(f"transport: the model has no {name}, where directions of {hook} are added")


def _run(
    bridge: Any, batch: Int64[Tensor, "rows positions"], places: Collection[Place]
) -> dict[Place, Float[Tensor, "rows positions d_model"]]:
    """The stream at each place and at the end, with the graph between them."""
    n = len(bridge.blocks)
    root, end = Place(min(places).layer, False), Place(n, False)
    caught: dict[Place, Tensor] = {}

    def catch(place: Place, activation: Tensor, hook: Any) -> Tensor:
        """Keep the stream at a place; what the model goes on with."""
        # The graph begins at the first place; the model's parameters are none of it.
        caught[place] = activation.detach().requires_grad_() if place == root else activation
        return caught[place]

    hooks = [(place.name(n), partial(catch, place)) for place in {*places, root, end}]
    with torch.enable_grad(), bridge.hooks(fwd_hooks=hooks):
        bridge(batch, return_type=None, **forward.few_logits(bridge))
    return caught
