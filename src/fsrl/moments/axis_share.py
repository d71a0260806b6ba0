"""How much of a feature's logit weights lies along the layer's activations' first principal axis.

With u that axis, d a decoder row, and C the covariance of W_U's columns over the view's tokens, the logit
weights of d and of u have covariance d^T C u, and

    axis_share = (d^T C u)^2 / ((d^T C d) (u^T C u))

is the share of the variance of d's that a multiple of u's explains: the square of their correlation. What a
layer's activations do most is what its features stand for, so this describes a feature, and is no null.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.weights import columns, matrices
from fsrl.weights.matrices import Decoder, Unembedding, check_finite
from fsrl.weights.transport import Transport, is_carried, view


def first_axis(covariance: Float64[Tensor, "d_model d_model"]) -> Float64[Tensor, "d_model"]:
    """The eigenvector of the largest eigenvalue, of length 1; its sign is arbitrary.

    Raises FsrlError for a covariance that is not finite or without a positive eigenvalue.
    """
    check_finite("covariance of the activations", covariance)
    values, vectors = torch.linalg.eigh(covariance.double())
    if not values[-1] > 0:
        raise FsrlError("covariance of the activations: no positive eigenvalue; the activations never vary")
    return vectors[:, -1]


def axis_share(
    W_dec: Float[Tensor, "d_sae d_model"],
    W_U: Float[Tensor, "d_model n_tokens"],
    axis: Float64[Tensor, "d_axis"],
) -> Float64[Tensor, "d_sae"]:
    """The share of each row's logit-weight variance along the axis; NaN for a row whose logits are constant.

    W_dec and W_U as the view sees them. Raises FsrlError for an axis of another d_model.
    """
    if len(axis) != W_U.shape[0]:
        raise FsrlError(f"axis share: an axis of {len(axis)} dimensions, and W_U of {W_U.shape[0]}")
    return _share(W_dec, _covariance(W_U), axis)


def of_layers(
    decoders: Iterable[Decoder],
    unembedding: Unembedding,
    settings: Mapping[str, Any],
    moved: Transport | None,
    axes: Mapping[str, Float64[Tensor, "d_model"]],
) -> Iterator[tuple[Decoder, Float64[Tensor, "d_sae"]]]:
    """Each decoder in turn with its `axis_share` in a view; the covariance of W_U's columns is taken once.

    Once for each decoder where the view has transport. settings, moved: as `fsrl.weights.transport.view`
    takes them, whose errors are raised; axes: by hook.
    """
    covariance = None
    for decoder in decoders:
        matrices.check_fit(decoder, unembedding)
        if covariance is None or is_carried(settings):
            covariance = _covariance(view(decoder, unembedding, settings, moved).W_U)
        rows = matrices.seen_rows(decoder.W_dec, cosine=settings.get("cosine", False))
        yield decoder, _share(rows, covariance, axes[decoder.hook])


def _covariance(W_U: Float[Tensor, "d_model n_tokens"]) -> Float64[Tensor, "d_model d_model"]:
    return columns.centred_gram(W_U) / W_U.shape[1]


def _share(
    W_dec: Float[Tensor, "d_sae d_model"],
    covariance: Float64[Tensor, "d_model d_model"],
    axis: Float64[Tensor, "d_model"],
) -> Float64[Tensor, "d_sae"]:
    """`axis_share` from the covariance of W_U's columns."""
    rows, axis = W_dec.double(), axis.to(covariance)
    coloured = rows @ covariance
    of_rows, of_axis = (coloured * rows).sum(dim=1), axis @ covariance @ axis
    shared = (coloured @ axis).square() / (of_rows * of_axis)
    return shared.clamp(max=1.0).masked_fill(of_rows <= 0, torch.nan)


def axis_share_frame(share: Float64[Tensor, "d_sae"]) -> pd.DataFrame:
    """The table `axis_share`."""
    features = np.arange(len(share), dtype=np.int32)
    return pd.DataFrame({"feature": features, "axis_share": share.cpu().numpy()})
