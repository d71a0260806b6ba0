"""Random directions that share with a feature all that a LayerNorm's geometry could see of it.

The final LayerNorm takes out of a change what lies along the stream, and a feature that is active lies along
it more than a random direction does. So at each site a control has the feature's norm, its cosine with the
stream there, and its part along (1, ..., 1), which no LayerNorm sees; the rest is turned at random:

    c = (v · e) e + (v · x̂) x̂ + |r| ĝ       r = v - (v · e) e - (v · x̂) x̂

with e = (1, ..., 1) / √d, x̂ the stream's part orthogonal to e, normed, and ĝ a random unit vector
orthogonal to both. |c| = |v| and c · x = v · x exactly, so the cosines with x and with x centred are the
same.

Example: in three dimensions r has one direction left: c is v, or v mirrored in the plane of e and x.
"""

import torch
from jaxtyping import Float64
from torch import Tensor


def matched(
    vectors: Float64[Tensor, "sites d_model"],
    streams: Float64[Tensor, "sites d_model"],
    noise: Float64[Tensor, "sites d_model"],
) -> Float64[Tensor, "sites d_model"]:
    """A control for each vector at its site; noise: standard normal numbers, which pick it.

    A stream that is constant over d_model has no direction of its own, and none is matched.
    """
    basis = [torch.ones_like(vectors) / vectors.shape[-1] ** 0.5]
    basis.append(_unit(_without(streams, basis)))
    rest = _without(vectors, basis)
    turned = _unit(_without(noise, basis)) * rest.norm(dim=-1, keepdim=True)
    return vectors - rest + turned


def _without(
    vectors: Float64[Tensor, "sites d_model"], basis: list[Float64[Tensor, "sites d_model"]]
) -> Float64[Tensor, "sites d_model"]:
    """What is left of vectors beside a basis of orthonormal (or zero) ones."""
    # Twice, since what the first pass leaves of a vector along the basis is of its own rounding.
    for _ in range(2):
        for unit in basis:
            vectors = vectors - (vectors * unit).sum(-1, keepdim=True) * unit
    return vectors


def _unit(vectors: Float64[Tensor, "sites d_model"]) -> Float64[Tensor, "sites d_model"]:
    """Normed; zero stays zero."""
    norm = vectors.norm(dim=-1, keepdim=True)
    return torch.where(norm > 0, vectors / norm, 0.0)
