"""What chance gives: the moments of directions that mean nothing, against which features are judged.

Four kinds (`fsrl.nulls.directions` draws them): isotropic directions, shared by the layers of a model; and
for each layer Gaussian directions with the decoder rows' second moment, or with their mean spectrum along
W_U's principal axes, and decoder rows with random signs along these. Those of `fsrl.names.BOUNDING` bound
the types; what they give by chance is counted among fresh ones, from another seed (`fresh_seed`).

Their logit weights are far from Gaussian (W_U's columns are neither isotropic nor independent), so a cut-off
on skewness or kurtosis means something only beside these quantiles. State the Monte Carlo error with them:
the 0.999 quantile of kurtosis has an sd of .07 at 3,000 draws and .02 at 100,000.

Everything is computed where the given matrices lie, in the precision `auto` of `fsrl.moments`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.moments import engine
from fsrl.moments.features import LogitMoments
from fsrl.moments.formulas import Typical
from fsrl.moments.frames import MEASURED
from fsrl.moments.readings import Reading
from fsrl.moments.tails import with_tails
from fsrl.names import KINDS, SHARED, type_label
from fsrl.nulls import directions as null_directions
from fsrl.nulls.directions import Directions
from fsrl.nulls.typical import typical as typical_of
from fsrl.weights import matrices as weights
from fsrl.weights.matrices import Decoder, Unembedding

# Blocks that go through `moments` together: W_U is centred once a pass. So many at most, and no more than fit
# in so many numbers: 8 x 4096 x 768 floats are 100 MB.
BLOCKS_PER_PASS = 8
NUMBERS_PER_PASS = BLOCKS_PER_PASS * null_directions.DRAWS_PER_BLOCK * 1024
_ONLY_MOMENTS: dict[str, Any] = {"n_extremes": 0, "n_bins": 0, "precision": "auto"}
# The kinds whose directions depend on a view's W_U, by its principal axes.
IN_W_U = {"spectrum": null_directions.spectrum, "sign_flip": null_directions.sign_flip}
# Rows whose lengths differ by no more than this share have one length to float32's rounding.
_ONE_LENGTH = 1e-6
# Added to a seed for fresh directions: no config has seeds that far apart by chance.
_FRESH = 1_000_000_007


def isotropic_directions(d_model: int, *, draws: int, seed: int) -> Float32[Tensor, "{draws} {d_model}"]:
    """Directions of length 1; the first n of them are those that draws=n gives.

    Raises FsrlError for draws < 1 or seed < 0.
    """
    return torch.cat(list(null_directions.isotropic(d_model, draws=draws, seed=seed)))


def isotropic(W_U: Tensor, *, draws: int, seed: int, progress: bool = False) -> pd.DataFrame:
    """The table `null` (`fsrl.tables.moments.NULL`) of isotropic directions under W_U [d_model, n_tokens].

    What is typical is taken from the draws themselves; progress: show bars. Raises FsrlError for draws < 1, a
    negative seed, or W_U that `fsrl.moments` refuses.
    """
    directions = null_directions.isotropic(W_U.shape[0], draws=draws, seed=seed)
    return of_directions(SHARED, directions, W_U, progress=progress)


def fresh_seed(seed: int) -> int:
    """The seed of directions that have nothing to do with those of `seed`."""
    return seed + _FRESH


def draw(
    kind: str, W_dec: Tensor, W_U: Tensor, *, draws: int, seed: int
) -> Iterator[Float32[Tensor, "rows d_model"]]:
    """Blocks of the directions of any kind behind a table `null`, in its order.

    W_dec [d_sae, d_model] and W_U [d_model, n_tokens] as the view sees them.
    """
    if kind == SHARED:
        return null_directions.isotropic(W_U.shape[0], draws=draws, seed=seed)
    _check_kinds([kind])
    return _draw(kind, W_dec, W_U, draws=draws, seed=seed)


def isotropic_of_views(
    unembedding: Unembedding,
    views: Mapping[str, Mapping[str, Any]],
    *,
    draws: int,
    seed: int,
    typical: Mapping[str, Typical] | None = None,
) -> dict[str, pd.DataFrame]:
    """`isotropic` under each view, by its name: the same directions, multiplied once for all views of a W_U.

    views: name -> settings of `fsrl.weights.view_unembedding`, whose errors are raised too; typical: by view,
    where it is not to be taken from these draws.
    """
    directions = null_directions.isotropic(unembedding.folded.shape[0], draws=draws, seed=seed)
    passes = _passes(directions, unembedding, views)
    known = typical or {}
    return {name: _frame(SHARED, results, known.get(name)) for name, results in passes.items()}


def of_layer(
    W_dec: Tensor,
    W_U: Tensor,
    *,
    kinds: Sequence[str],
    draws: int,
    seed: int,
    typical: Typical,
    progress: bool = False,
) -> pd.DataFrame:
    """The table `null` of a layer's own kinds, `draws` of each, in the given order.

    W_dec [d_sae, d_model] and W_U [d_model, n_tokens] as the view sees them; kinds: of second_moment,
    spectrum and sign_flip; typical: of the isotropic null under the same W_U (`fsrl.nulls.typical`), which
    tails are measured against, as they are for the features; progress: show bars. Layers that are given the
    same seed share their random numbers. Raises FsrlError for another kind and whatever
    `fsrl.nulls.directions` refuses.
    """
    _check_kinds(kinds)
    frames = []
    for kind in kinds:
        blocks = _draw(kind, W_dec, W_U, draws=draws, seed=seed)
        frames.append(of_directions(kind, blocks, W_U, typical=typical, progress=progress))
    return pd.concat(frames, ignore_index=True)


def of_layer_in_views(
    decoder: Decoder,
    unembedding: Unembedding,
    views: Mapping[str, Mapping[str, Any]],
    *,
    kinds: Sequence[str],
    draws: int,
    seed: int,
    typical: Mapping[str, Typical],
) -> dict[str, pd.DataFrame]:
    """`of_layer` under each view, by its name: directions that views share are drawn and multiplied once.

    views: name -> settings of `fsrl.weights.view`, whose errors are raised too; typical: by view; the rest as
    for `of_layer`. Draw i of a view and kind is the one of `of_layer` with what `fsrl.weights.view` gives.
    """
    _check_kinds(kinds)
    weights.check_fit(decoder, unembedding)
    draw = partial(_draw, draws=draws, seed=seed)
    frames: dict[str, list[pd.DataFrame]] = {name: [] for name in views}
    for kind in kinds:
        for sharing in _sharing(kind, decoder, unembedding, views):
            own = {name: views[name] for name in sharing}
            found = _passes(draw(kind, *_seen(kind, decoder, unembedding, own)), unembedding, own)
            for name, results in found.items():
                frames[name].append(_frame(kind, results, typical[name]))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()}


def _check_kinds(kinds: Sequence[str]) -> None:
    known = ", ".join(name for name in KINDS if name != SHARED)
    if not kinds:
        raise FsrlError(f"nulls: no kind given; choose from {known}")
    for kind in kinds:
        if kind == SHARED or kind not in KINDS:
            hint = "is shared by the layers, see nulls.isotropic" if kind == SHARED else "is unknown"
            raise FsrlError(f"nulls: kind {kind!r} {hint}; choose from {known}")


def _sharing(
    kind: str, decoder: Decoder, unembedding: Unembedding, views: Mapping[str, Mapping[str, Any]]
) -> list[list[str]]:
    """The views by what a kind's directions follow from, to a factor that drops out of a cosine.

    Of a second moment it is the decoder's rows, which are all of one length where cosines are read; of what
    is made along W_U's principal axes the view's W_U as well.
    """
    lengths = decoder.W_dec.norm(dim=1, dtype=torch.float64)
    lengths = lengths[lengths > 0]
    one_length = not len(lengths) or bool(lengths.max() - lengths.min() <= _ONE_LENGTH * lengths.max())
    groups: dict[Any, list[str]] = {}
    for name, view in views.items():
        cosine, w_u = bool(view.get("cosine", False)), view.get("w_u", "folded")
        _, kept = weights.stored_unembedding(unembedding, w_u=w_u, tokens=view.get("tokens", "all"))
        # Trained tokens are some of all: as many are the same.
        of_kind: dict[str, Any] = {"second_moment": cosine and not one_length}
        of_kind |= dict.fromkeys(IN_W_U, (w_u, len(kept), cosine))
        groups.setdefault(of_kind.get(kind), []).append(name)
    return list(groups.values())


def _seen(
    kind: str, decoder: Decoder, unembedding: Unembedding, views: Mapping[str, Mapping[str, Any]]
) -> tuple[Tensor, Tensor]:
    """W_dec and W_U that a kind's directions are drawn from, for views that share them."""
    # Lengths count where a view reads logits.
    cosine = all(view.get("cosine", False) for view in views.values())
    rows = weights.seen_rows(decoder.W_dec, cosine=cosine)
    if kind not in IN_W_U:
        return rows, unembedding.folded
    return rows, weights.view_unembedding(unembedding, **next(iter(views.values())))[0]


def _draw(kind: str, W_dec: Tensor, W_U: Tensor, *, draws: int, seed: int) -> Iterator[Directions]:
    if kind == "second_moment":
        return null_directions.second_moment(W_dec, draws=draws, seed=seed)
    return IN_W_U[kind](W_dec, W_U, draws=draws, seed=seed)


def of_directions(
    kind: str,
    blocks: Iterable[Directions],
    W_U: Tensor,
    *,
    typical: Typical | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """The table `null` of given directions, a few blocks at a time.

    kind: what the table calls them; typical: what tails are measured against, by default what these have.
    """
    shown = progress and f"null directions ({type_label(kind)})"
    directions = (torch.cat(group).to(W_U.device) for group in _groups(blocks, len(W_U)))
    passes = engine.logit_moments_of_each(directions, W_U, [Reading()], progress=shown, **_ONLY_MOMENTS)
    return _frame(kind, [result for (result,) in passes], typical)


def _passes(
    blocks: Iterable[Directions], unembedding: Unembedding, views: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[LogitMoments]]:
    """The draws' moments under each view, a few blocks at a time."""
    found: dict[str, list[LogitMoments]] = {name: [] for name in views}
    where = unembedding.folded.device
    directions = (torch.cat(group).to(where) for group in _groups(blocks, len(unembedding.folded)))
    for results in engine.views_of_each(directions, unembedding, views, **_ONLY_MOMENTS):
        for name, result in results.items():
            found[name].append(result.moments)
    return found


def _frame(kind: str, passes: Sequence[LogitMoments], typical: Typical | None) -> pd.DataFrame:
    """The table of one kind from the passes over its draws; typical None: what these draws have."""
    found = {name: torch.cat([getattr(result, name) for result in passes]).numpy() for name in MEASURED}
    draws = len(found["mean"])
    columns = {"kind": pd.Series([kind] * draws, dtype="str"), "draw": np.arange(draws, dtype=np.int32)}
    frame = pd.DataFrame(columns | found)
    return with_tails(frame, passes[0].d_vocab, typical_of(frame) if typical is None else typical)


def _groups(blocks: Iterable[Directions], d_model: int) -> Iterator[list[Directions]]:
    fitting = NUMBERS_PER_PASS // (null_directions.DRAWS_PER_BLOCK * d_model)
    size = max(1, min(BLOCKS_PER_PASS, fitting))
    group: list[Directions] = []
    for block in blocks:
        group.append(block)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
