"""What chance gives: the moments of directions that mean nothing, against which features are judged.

Four kinds (`fsrl.nulls.directions` draws them): isotropic directions, shared by the layers of a model; and
for each layer Gaussian directions with the decoder rows' second moment, decoder rows with random signs in
W_U's PCA basis, and Gaussian directions with the covariance of the layer's activations.

Their logit weights are far from Gaussian (W_U's columns are neither isotropic nor independent), so a cut-off
on skewness or kurtosis means something only beside these quantiles. State the Monte Carlo error with them:
the 0.999 quantile of kurtosis has an sd of .07 at 3,000 draws and .02 at 100,000.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.moments import engine, formulas
from fsrl.moments.features import LogitMoments
from fsrl.names import KINDS, SHARED, type_label
from fsrl.nulls import directions as null_directions
from fsrl.nulls.directions import Directions
from fsrl.weights.matrices import Unembedding

# Blocks that go through `moments` together: W_U is centred once a pass, and 8 x 4096 x 768 floats are 100 MB.
BLOCKS_PER_PASS = 8
_ONLY_MOMENTS: dict[str, Any] = {"n_extremes": 0, "n_bins": 0}
_SHAPE = ("mean", "std", "skewness", "kurtosis", "bimodality", "norm")


def isotropic_directions(d_model: int, *, draws: int, seed: int) -> Float32[Tensor, "{draws} {d_model}"]:
    """Directions of length 1; the first n of them are those that draws=n gives.

    Raises FsrlError for draws < 1 or seed < 0.
    """
    return torch.cat(list(null_directions.isotropic(d_model, draws=draws, seed=seed)))


def isotropic(W_U: Tensor, *, draws: int, seed: int, progress: bool = False) -> pd.DataFrame:
    """The table `null` (`fsrl.tables.moments.NULL`) of isotropic directions under W_U [d_model, n_tokens].

    implied_tokens is taken against the draws' own median kurtosis; progress: show bars. Raises FsrlError for
    draws < 1, a negative seed, or W_U that `fsrl.moments` refuses.
    """
    directions = null_directions.isotropic(W_U.shape[0], draws=draws, seed=seed)
    return _table(SHARED, directions, W_U, None, progress)


def isotropic_of_views(
    unembedding: Unembedding, views: Mapping[str, Mapping[str, Any]], *, draws: int, seed: int
) -> dict[str, pd.DataFrame]:
    """`isotropic` under each view, by its name: the same directions, multiplied once for all views of a W_U.

    views: name -> settings of `fsrl.weights.view_unembedding`, whose errors are raised too.
    """
    passes: dict[str, list[LogitMoments]] = {name: [] for name in views}
    directions = null_directions.isotropic(unembedding.folded.shape[0], draws=draws, seed=seed)
    for group in _groups(directions, BLOCKS_PER_PASS):
        found = engine.logit_moments_of_views(torch.cat(group), unembedding, views, **_ONLY_MOMENTS)
        for name, result in found.items():
            passes[name].append(result.moments)
    return {name: _frame(SHARED, results, None) for name, results in passes.items()}


def of_layer(
    W_dec: Tensor,
    W_U: Tensor,
    *,
    kinds: Sequence[str],
    draws: int,
    seed: int,
    kappa0: float,
    covariance: Tensor | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """The table `null` of a layer's own kinds, `draws` of each, in the given order.

    W_dec [d_sae, d_model] and W_U [d_model, n_tokens] as the view sees them; kinds: of second_moment,
    sign_flip and activations; kappa0: the median kurtosis of the isotropic null, against which implied_tokens
    is taken, as it is for the features; covariance [d_model, d_model]: of the layer's activations (see
    `fsrl.models.activations`); progress: show bars. Layers that are given the same seed share their random
    numbers. Raises FsrlError for another kind, a missing covariance and whatever `fsrl.nulls.directions`
    refuses.
    """
    frames = []
    for kind in kinds:
        blocks = _draw(kind, W_dec, W_U, covariance, draws, seed)
        frames.append(_table(kind, blocks, W_U, kappa0, progress))
    if not frames:
        raise FsrlError(f"nulls: no kind given; choose from {', '.join(k for k in KINDS if k != SHARED)}")
    return pd.concat(frames, ignore_index=True)


def _draw(
    kind: str, W_dec: Tensor, W_U: Tensor, covariance: Tensor | None, draws: int, seed: int
) -> Iterator[Directions]:
    if kind == "second_moment":
        return null_directions.second_moment(W_dec, draws=draws, seed=seed)
    if kind == "sign_flip":
        return null_directions.sign_flip(W_dec, W_U, draws=draws, seed=seed)
    if kind != "activations":
        known = ", ".join(name for name in KINDS if name != SHARED)
        hint = "is shared by the layers, see nulls.isotropic" if kind == SHARED else "is unknown"
        raise FsrlError(f"nulls: kind {kind!r} {hint}; choose from {known}")
    if covariance is None:
        raise FsrlError("nulls: kind activations needs the covariance of the layer's activations")
    return null_directions.activations(W_dec, covariance, draws=draws, seed=seed)


def _table(
    kind: str, blocks: Iterable[Directions], W_U: Tensor, kappa0: float | None, progress: bool
) -> pd.DataFrame:
    """The draws' moments, a few blocks at a time."""
    shown = progress and f"null directions ({type_label(kind)})"
    passes = [
        engine.logit_moments(torch.cat(group), W_U, progress=shown, **_ONLY_MOMENTS)
        for group in _groups(blocks, BLOCKS_PER_PASS)
    ]
    return _frame(kind, passes, kappa0)


def _frame(kind: str, passes: Sequence[LogitMoments], kappa0: float | None) -> pd.DataFrame:
    """The table of one kind from the passes over its draws; kappa0 None: their own median kurtosis."""
    found = {name: torch.cat([getattr(result, name) for result in passes]) for name in _SHAPE}
    if kappa0 is None:
        kappa0 = found["kurtosis"].nanquantile(0.5).item()
    implied = formulas.implied_tokens(found["skewness"], found["kurtosis"], passes[0].d_vocab, kappa0)
    draws = len(implied)
    columns = {"kind": pd.Series([kind] * draws, dtype="str"), "draw": np.arange(draws, dtype=np.int32)}
    columns |= {name: found[name].numpy() for name in _SHAPE[:-1]}
    return pd.DataFrame(columns | {"implied_tokens": implied.numpy(), "norm": found["norm"].numpy()})


def _groups(blocks: Iterable[Directions], size: int) -> Iterator[list[Directions]]:
    group: list[Directions] = []
    for block in blocks:
        group.append(block)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
