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

from fsrl.effects.forward import Block, Clean, Tail, normalise
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
    v: Float[Tensor, "*any d_model"], unit: Float[Tensor, "*any d_model"]
) -> Float[Tensor, "*any d_model"]:
    """(P - x̂ x̂ᵀ/d) v; unit: x̂, the centred stream divided by its scale."""
    centred = v - v.mean(-1, keepdim=True)
    return centred - unit * (unit * v).mean(-1, keepdim=True)


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
    """What the attention writes at x, and how v moves it: through its query, its own key and its own value."""
    x, v = _norm(x, v, block.ln1_w, block.ln1_b, eps)
    weights = ((block.W_Q, block.b_Q), (block.W_K, block.b_K), (block.W_V, block.b_V))
    q, k, value = (torch.einsum("sd,hde->she", x, W) + b for W, b in weights)
    dq, dk, dvalue = (torch.einsum("sd,hde->she", v, W) for W, _ in weights)
    past = torch.arange(keys.shape[2], device=x.device) < positions[:, None]
    scores = (keys @ q[..., None])[..., 0].masked_fill(~past[:, None], -torch.inf)
    root = math.sqrt(q.shape[-1])
    pattern = (torch.cat([scores, (q * k).sum(-1, keepdim=True)], dim=-1) / root).softmax(-1)
    own = (dq * k + q * dk).sum(-1, keepdim=True)
    moved = torch.cat([(keys @ dq[..., None])[..., 0], own], dim=-1) / root
    moved = pattern * (moved - (pattern * moved).sum(-1, keepdim=True))

    def read(weights: Tensor, value: Tensor) -> Tensor:
        return (weights[..., None, :-1] @ values)[..., 0, :] + weights[..., -1:] * value

    z, dz = read(pattern, value), read(moved, value) + pattern[..., -1:] * dvalue
    out = torch.einsum("she,hed->sd", torch.stack([z, dz]).flatten(0, 1), block.W_O)
    written, turned = out.view(2, *x.shape)
    return written + block.b_O, turned
