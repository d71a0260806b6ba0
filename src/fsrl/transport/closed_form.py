"""The Jacobian of a GPT-2 at single positions, written out: from the end of the stream back, block by block.

A block maps x to x + attn(LN₁ x), then y to y + mlp(LN₂ y). At one position, earlier keys and values held (a
push at a position reaches that position's end through it alone, see `fsrl.effects.forward`), with column
vectors and each head's weights a over positions up to its own:

    M = W_outᵀ diag(gelu') W_inᵀ LN₂'
    A = W_Oᵀ [a_self W_Vᵀ + C W_Qᵀ/√d_h + a_self (v - z)(W_K q)ᵀ/√d_h] LN₁'        C = Σ_j a_j (v_j - z) k_jᵀ
    LN' = diag(w) (P - x̂ x̂ᵀ/d) / s

where z = Σ_j a_j v_j; q, k and v without index are the position's own. With J the product of all later
blocks, I at the end, one sweep

    J <- J (I + M)      at the place between attention and MLP
    J <- J (I + A)      before the block

gives ∂x_end/∂x at every place of the model: 14 d³ multiplications and additions a block and site (no
autograd, 7 times). With N, the final norm's part, N J takes d² more (`behind_norm`).

Example: in a model without blocks J is I at its only place, and N J is N.
"""

import math
from collections.abc import Collection, Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl.effects.forward import Block, Clean, Tail, normalise
from fsrl.effects.tangent import gelu_slope
from fsrl.errors import FsrlError
from fsrl.hooks import Place


def sweep(
    tail: Tail,
    clean: Clean,
    contexts: Int64[Tensor, "sites"],
    positions: Int64[Tensor, "sites"],
    places: Collection[Place],
) -> Iterator[tuple[Place, Float[Tensor, "sites d_model d_model"]]]:
    """∂x_end/∂x of each site at each of `places`, from the last to the first of the model.

    clean: its residual has every place from the first of `places` on.
    """
    n, first = len(tail.blocks), min(places)
    end = clean.final
    J = torch.eye(end.shape[-1], dtype=end.dtype, device=end.device).expand(len(contexts), -1, -1)
    if Place(n, False) in places:
        yield Place(n, False), J
    for layer in reversed(range(first.layer, n)):
        block, mid, before = tail.blocks[layer], Place(layer, True), Place(layer, False)
        J = _behind_mlp(J, block, clean.residual[mid][contexts, positions], tail.eps)
        if mid in places:
            yield mid, J
        if before < first:
            return
        x, keys, values = clean.residual[before], clean.keys[layer], clean.values[layer]
        x, keys, values = x[contexts, positions], keys[contexts], values[contexts]
        J = _behind_attention(J, block, x, tail.eps, keys, values, positions)
        if before in places:
            yield before, J


def behind_norm(
    J: Float[Tensor, "sites d_model width"], final: Float[Tensor, "sites d_model"], norm: str, eps: float
) -> Float[Tensor, "sites d_model width"]:
    """N J of each site, N the final norm's derivative without its gain, times its scale.

    final: the stream at its end, where N is taken; norm: as in `fsrl.models.head`.
    """
    if norm == "none":
        return J
    if norm not in ("LayerNorm", "RMSNorm"):
        raise FsrlError(f"transport: the final norm is {norm!r}; known: LayerNorm, RMSNorm, none")
    unit, _ = normalise(final, eps, norm)
    along = unit[:, None, :] @ J / J.shape[1]
    kept = J - J.mean(1, keepdim=True) if norm == "LayerNorm" else J
    return kept - unit[:, :, None] * along


def site_bytes(tail: Tail, element_size: int) -> int:
    """What one site takes on its way back through a block."""
    if not tail.blocks:
        return element_size
    d_model, d_mlp = tail.blocks[0].W_in.shape
    return element_size * d_model * (d_mlp + 6 * d_model)


def _behind_mlp(
    J: Float[Tensor, "sites d_model d_model"], block: Block, x: Float[Tensor, "sites d_model"], eps: float
) -> Float[Tensor, "sites d_model d_model"]:
    """J (I + M)."""
    unit, scale = normalise(x, eps)
    inner = (unit * block.ln2_w + block.ln2_b) @ block.W_in + block.b_in
    slopes = gelu_slope(inner) / scale
    M = (block.W_out.T * slopes[:, None, :]) @ _centred(block.ln2_w[:, None] * block.W_in).T
    return _added(J, J @ M, unit)


def _behind_attention(
    J: Float[Tensor, "sites d_model d_model"],
    block: Block,
    x: Float[Tensor, "sites d_model"],
    eps: float,
    keys: Float[Tensor, "sites heads positions d_head"],
    values: Float[Tensor, "sites heads positions d_head"],
    positions: Int64[Tensor, "sites"],
) -> Float[Tensor, "sites d_model d_model"]:
    """J (I + A); keys and values: of the whole contexts, of which the positions up to each site's count."""
    unit, scale = normalise(x, eps)
    q = torch.einsum("md,hde->mhe", unit * block.ln1_w + block.ln1_b, block.W_Q) + block.b_Q
    root = math.sqrt(q.shape[-1])
    seen = torch.arange(keys.shape[2], device=x.device) <= positions[:, None]
    scores = (keys @ q[..., None])[..., 0] / root
    pattern = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)[:, :, None]
    z, mean_key = pattern @ values, pattern @ keys
    C = ((pattern.transpose(2, 3) * values).transpose(2, 3) @ keys - z.transpose(2, 3) @ mean_key) / root
    W_Q, W_K, W_V = (_centred(block.ln1_w[:, None] * W) for W in (block.W_Q, block.W_K, block.W_V))
    sites = torch.arange(len(x), device=x.device)
    own, ahead = pattern[sites, :, 0, positions], values[sites, :, positions] - z[:, :, 0]
    inner = C @ W_Q.transpose(1, 2) + own[..., None, None] * W_V.transpose(1, 2)
    pulled = torch.einsum("mhf,hdf->mhd", q, W_K) / root
    inner += (own[..., None] * ahead)[..., None] * pulled[:, :, None, :]
    inner = (inner / scale[:, None, None]).flatten(1, 2)
    return _added(J, (J @ block.W_O.flatten(0, 1).T) @ inner, unit)


def _added(
    J: Float[Tensor, "sites d_model d_model"],
    through: Float[Tensor, "sites d_model d_model"],
    unit: Float[Tensor, "sites d_model"],
) -> Float[Tensor, "sites d_model d_model"]:
    """J + through (I - x̂ x̂ᵀ/d)."""
    along = through @ unit[:, :, None]
    return J + through - along * unit[:, None, :] / unit.shape[1]


def _centred(W: Float[Tensor, "*any d_model width"]) -> Float[Tensor, "*any d_model width"]:
    """P W: centred over d_model."""
    return W - W.mean(-2, keepdim=True)
