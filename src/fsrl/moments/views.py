"""The moments of all views of one set of directions, from one pass over the product for each W_U they read.

`fsrl.weights.view` says what a view is, by making its two matrices; here the views of one W_U (folded, or
raw) are readings of the same product (`fsrl.moments.readings`), so that each takes a part of a pass. Both
ways agree to the rounding of the float32 matrices that `view` makes of cosines.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from fsrl.moments import engine
from fsrl.moments.engine import LogitMoments, Reading
from fsrl.weights import matrices as weights
from fsrl.weights.matrices import Decoder, Unembedding


class ViewMoments(NamedTuple):
    """Moments under one view; token_ids: int64 [n_tokens], the token of each column that their ids count."""

    moments: LogitMoments
    token_ids: Tensor


def decoder_moments(
    decoder: Decoder, unembedding: Unembedding, views: Mapping[str, Mapping[str, Any]], **settings: Any
) -> dict[str, ViewMoments]:
    """`logit_moments_of_views` of a decoder's rows; FsrlError too where it does not fit the model."""
    weights.check_fit(decoder, unembedding)
    return logit_moments_of_views(decoder.W_dec, unembedding, views, **settings)


def logit_moments_of_views(
    W_dec: Tensor, unembedding: Unembedding, views: Mapping[str, Mapping[str, Any]], **settings: Any
) -> dict[str, ViewMoments]:
    """The moments of W_dec [n, d_model] under each view, by its name and in the given order.

    views: name -> settings of `fsrl.weights.view`; settings: those of `fsrl.moments.logit_moments`. A view's
    result does not depend on the others. Raises FsrlError for what these functions refuse.
    """
    by_matrix: dict[str, dict[str, ViewMoments]] = {}
    for w_u in {view.get("w_u", "folded"): None for view in views.values()}:
        own = {name: view for name, view in views.items() if view.get("w_u", "folded") == w_u}
        by_matrix[w_u] = _of_one_matrix(W_dec, unembedding, w_u, own, settings)
    return {name: by_matrix[view.get("w_u", "folded")][name] for name, view in views.items()}


def _of_one_matrix(
    W_dec: Tensor,
    unembedding: Unembedding,
    w_u: str,
    views: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> dict[str, ViewMoments]:
    readings, token_ids = [], []
    for view in views.values():
        W_U, kept = weights.stored_unembedding(unembedding, w_u=w_u, tokens=view.get("tokens", "all"))
        readings.append(Reading(kept, bool(view.get("cosine", False))))
        token_ids.append(kept)
    found = engine.logit_moments_of_readings(W_dec, W_U, readings, **settings)
    return dict(zip(views, map(ViewMoments, found, token_ids), strict=True))
