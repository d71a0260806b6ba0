"""What an infinitesimal step at a site does at the end: the forward pass of `forward.Tail`, derived by hand.

One vector goes from its place to the end as the stream itself does, both position by position (earlier keys
and values held):

    N ∂x_end/∂x v        N = P - x̂ x̂ᵀ/d,  x̂ = P x_end / s

which is `fsrl.transport.closed_form` times v, for the price of a push or two instead of d_model of them. To
first order alpha v changes the logits by alpha N ∂x_end/∂x v W_U / s (W_U folded, s the final scale).

Example: at the last hook it is v less its parts along (1, ..., 1) and along the stream.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fsrl.effects.forward import Block, Clean, Tail, centred, normalise
from fsrl.hooks import Place


@torch.no_grad()
def tangent(
    tail: Tail,
    clean: Clean,
    place: Place,
    contexts: Int64[Tensor, "sites"],
    positions: Int64[Tensor, "sites"],
    vectors: Float[Tensor, "sites d_model"],
) -> Float[Tensor, "sites d_model"]:
    """N ∂x_end/∂x v of each site's vector; contexts, positions: of the sites."""
    x, v = clean.residual[place][contexts, positions], vectors
    for layer in range(place.layer, len(tail.blocks)):
        block = tail.blocks[layer]
        if layer > place.layer or not place.mid:
            keys, values = clean.keys[layer][contexts], clean.values[layer][contexts]
            written, moved = _attention(block, x, v, tail.eps, keys, values, positions)
            x, v = x + written, v + moved
        written, moved = _mlp(block, x, v, tail.eps)
        x, v = x + written, v + moved
    unit, _ = normalise(x, tail.eps)
    return without_stream(v, unit)


def without_stream(
    v: Float[Tensor, "*#any d_model"], unit: Float[Tensor, "*#any d_model"], norm: str = "LayerNorm"
) -> Float[Tensor, "*rows d_model"]:
    """(P - x̂ x̂ᵀ/d) v; unit: x̂, the centred stream divided by its scale; norm: as in `fsrl.models.head`, in
    others than a LayerNorm P is 1, and where there is none v stays as it is.
    """
    if norm == "none":
        return v.expand(torch.broadcast_shapes(v.shape, unit.shape))
    return centred(v, norm) - unit * (unit * v).mean(-1, keepdim=True)


def gelu_slope(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Derivative of GPT-2's gelu, x (1 + tanh(√(2/π) (x + .044715 x³))) / 2."""
    root = math.sqrt(2 / math.pi)
    bent = torch.tanh(root * (x + 0.044715 * x.pow(3)))
    return (1 + bent) / 2 + x / 2 * (1 - bent.square()) * root * (1 + 3 * 0.044715 * x.square())


def _norm(
    x: Float[Tensor, "sites d_model"],
    v: Float[Tensor, "sites d_model"],
    weight: Float[Tensor, "d_model"],
    bias: Float[Tensor, "d_model"],
    eps: float,
) -> tuple[Float[Tensor, "sites d_model"], Float[Tensor, "sites d_model"]]:
    """LayerNorm of x, and how v moves it."""
    unit, scale = normalise(x, eps)
    return unit * weight + bias, without_stream(v, unit) / scale * weight


def _mlp(
    block: Block, x: Float[Tensor, "sites d_model"], v: Float[Tensor, "sites d_model"], eps: float
) -> tuple[Float[Tensor, "sites d_model"], Float[Tensor, "sites d_model"]]:
    """What the MLP writes at x, and how v moves it."""
    x, v = _norm(x, v, block.ln2_w, block.ln2_b, eps)
    inner = x @ block.W_in + block.b_in
    written = functional.gelu(inner, approximate="tanh") @ block.W_out + block.b_out
    return written, (gelu_slope(inner) * (v @ block.W_in)) @ block.W_out


def _attention(
    block: Block,
    x: Float[Tensor, "sites d_model"],
    v: Float[Tensor, "sites d_model"],
    eps: float,
    keys: Float[Tensor, "sites heads positions d_head"],
    values: Float[Tensor, "sites heads positions d_head"],
    positions: Int64[Tensor, "sites"],
) -> tuple[Float[Tensor, "sites d_model"], Float[Tensor, "sites d_model"]]:
    """What the attention writes at x, and how v moves it: by its query, its own key and its own value."""
    x, v = _norm(x, v, block.ln1_w, block.ln1_b, eps)
    weights = ((block.W_Q, block.b_Q), (block.W_K, block.b_K), (block.W_V, block.b_V))
    q, k, value = (torch.einsum("sd,hde->she", x, W) + b for W, b in weights)
    dq, dk, dvalue = (torch.einsum("sd,hde->she", v, W) for W, _ in weights)
    past = torch.arange(keys.shape[2], device=x.device) < positions[:, None]
    # Both at once, since reading keys and values takes longest.
    asked = torch.stack([q, dq], dim=-1)
    own = torch.stack([(q * k).sum(-1), (dq * k + q * dk).sum(-1)], dim=-1)
    scores, turned = (torch.cat([keys @ asked, own[:, :, None]], dim=2) / q.shape[-1] ** 0.5).unbind(-1)
    here = torch.ones_like(past[:, :1])
    pattern = scores.masked_fill(~torch.cat([past, here], dim=1)[:, None], -torch.inf).softmax(-1)
    moved = pattern * (turned - (pattern * turned).sum(-1, keepdim=True))
    both = torch.stack([pattern, moved], dim=2)
    z = both[..., :-1] @ values + both[..., -1:] * value[:, :, None]
    z[:, :, 1] += pattern[..., -1:] * dvalue
    written = torch.einsum("shve,hed->vsd", z, block.W_O)
    return written[0] + block.b_O, written[1]
