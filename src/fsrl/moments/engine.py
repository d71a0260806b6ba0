"""Moments, extreme tokens and histogram of every feature's logit weights, exact over the whole vocabulary.

The logit weights of feature i are w = W_dec[i] @ W_U: one number per token, logit per unit of activation.
Population moments (ddof = 0), kurtosis not excess:

    mu = mean(w)   sigma^2 = mean((w - mu)^2)   skewness = mean(((w - mu) / sigma)^3)
    kurtosis = mean(((w - mu) / sigma)^4)       bimodality = (skewness^2 + 1) / kurtosis   (Sarle)

The matrix W_dec @ W_U (4.9 GB in float32 for one SAE of GPT-2) is never held: tiles of it are computed and
summed while they lie in the cache. W_U is centred over the vocabulary once, in float64. That changes the mean
and nothing else (the mean is restored in closed form, W_dec @ mean(W_U)), and makes every tile's power sums
sums about the row's true mean: adding them over tiles, in float64, is the exact merge of central moments.
Averaging the shapes of blocks is not: a two-level row split by token id would get kurtosis 3 instead of 1.

Several readings of one product (without some tokens, as cosines: `fsrl.moments.readings`) take one pass: each
tile is multiplied once and read in every way. What a model's views are as readings says
`logit_moments_of_views`.

Example: the logit weights (0, 0, 0, 4) have mean 1, std sqrt(3), skewness 2 / sqrt(3) and kurtosis 7 / 3.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import tee
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.moments import plan as moments_plan
from fsrl.moments import products as moments_products
from fsrl.moments import readings as moments_readings
from fsrl.moments import units as moments_units
from fsrl.moments import vocabulary as moments_vocabulary
from fsrl.moments.features import Features, LogitMoments
from fsrl.moments.plan import InOrder
from fsrl.moments.products import MODES, PRECISIONS
from fsrl.moments.readings import Lens, Piece, Reading
from fsrl.moments.vocabulary import Vocabulary
from fsrl.progress import bar
from fsrl.weights import columns
from fsrl.weights import matrices as weights
from fsrl.weights.matrices import Decoder, Unembedding, check_finite
from fsrl.weights.transport import Transport, groups, is_carried


def logit_moments(
    W_dec: Tensor,
    W_U: Tensor,
    *,
    precision: str = "fp32",
    device: str | torch.device | None = None,
    n_extremes: int = 10,
    n_bins: int = 50,
    memory_limit: int | None = None,
    progress: bool | str = False,
) -> LogitMoments:
    """Moments, extremes and histogram of the rows of W_dec [d_sae, d_model] @ W_U [d_model, d_vocab].

    precision: of the product; sums over tiles are float64 in all. Largest error measured against float64,
    relative (of skewness absolute below 1), on heavy-tailed, two-level and random rows of GPT-2's width,
    and, in brackets, where one or two tokens make the shape of a row:

        fp64   1e-12    the oracle
        fp32   1e-6     (2e-6)
        split  on CUDA hi + lo in TF32, by construction like fp32 but never measured; on a CPU it is fp32
        bf16   4e-3     (2e-2)
        auto   the fastest that holds 1e-5 always: split on CUDA with TF32 units, fp32 elsewhere

    device: "cpu" or "cuda", where to compute (default: where W_dec lies). n_extremes or n_bins = 0 leaves
    that part out. memory_limit: bytes to use above the inputs (default: about 400 MiB). progress: show a
    bar (`fsrl.progress`), under this name where it is a text.

    Any floating dtype and layout is read. The same inputs and settings on the same machine give the same
    bytes, whatever the number of threads (torch.get_num_threads()) and the memory limit. Raises FsrlError
    for NaN or infinite weights (with their position), shapes that do not fit, settings out of range and a
    memory limit too small to work in.
    """
    (result,) = logit_moments_of_readings(
        W_dec,
        W_U,
        [Reading()],
        precision=precision,
        device=device,
        n_extremes=n_extremes,
        n_bins=n_bins,
        memory_limit=memory_limit,
        progress=progress,
    )
    return result


def logit_moments_of_readings(
    W_dec: Tensor,
    W_U: Tensor,
    readings: Sequence[Reading],
    *,
    precision: str = "fp32",
    device: str | torch.device | None = None,
    n_extremes: int = 10,
    n_bins: int = 50,
    memory_limit: int | None = None,
    progress: bool | str = False,
) -> list[LogitMoments]:
    """The moments of W_dec @ W_U under each reading, in the given order, from one pass over the product.

    Settings and errors are those of `logit_moments`, which is the case of one reading of all tokens as they
    are; ids count the columns that a reading keeps. A reading gives the same bytes alone and beside others.
    Raises FsrlError too for columns that W_U lacks, and for a column without direction to take a cosine of.
    """
    each = logit_moments_of_each(
        [W_dec],
        W_U,
        readings,
        precision=precision,
        device=device,
        n_extremes=n_extremes,
        n_bins=n_bins,
        memory_limit=memory_limit,
        progress=progress,
    )
    return next(each)


def logit_moments_of_each(
    W_decs: Iterable[Tensor],
    W_U: Tensor,
    readings: Sequence[Reading],
    *,
    precision: str = "fp32",
    device: str | torch.device | None = None,
    n_extremes: int = 10,
    n_bins: int = 50,
    memory_limit: int | None = None,
    progress: bool | str = False,
) -> Iterator[list[LogitMoments]]:
    """`logit_moments_of_readings` of each W_dec in turn; what readings need to know of W_U is measured once.

    Each gets the bytes that it would get alone. All are computed on one device, by default the first one's.
    """
    lenses: list[Lens] = []
    for W_dec in W_decs:
        device = _check_arguments(W_dec, W_U, precision, device, n_extremes, n_bins)
        mode = moments_products.meant(precision, device)
        shape = _shape(W_dec, W_U, n_extremes, n_bins, mode, len(readings))
        tile = moments_plan.tile_shape(moments_plan.cache_bytes(device), shape.item_bytes)
        threads = 1 if device.type == "cuda" else torch.get_num_threads()
        panel = moments_plan.panel_tokens(shape, tile, threads, memory_limit)
        with moments_products.own_units(mode), moments_plan.workers(threads) as in_order:
            if not lenses:
                vocabulary = moments_vocabulary.measure(W_U, device, tile[1], in_order)
                focus = partial(moments_readings.focus, vocabulary, in_order=in_order, with_gram=n_bins > 0)
                lenses += [focus(reading) for reading in readings]
            run = _Pass(W_dec, vocabulary, lenses, mode, shape, tile, in_order)
            for start in range(0, shape.d_vocab, panel):
                run.add_panel(start, min(start + panel, shape.d_vocab), progress=progress)
            found = [features.result() for features in run.features]
        yield found


def _shape(
    W_dec: Tensor, W_U: Tensor, n_extremes: int, n_bins: int, mode: str, readings: int
) -> moments_plan.Shape:
    (n, d_model), d_vocab = W_dec.shape, W_U.shape[1]
    weight_bytes, item_bytes = moments_products.weight_bytes(mode), MODES[mode].dtype.itemsize
    return moments_plan.Shape(n, d_model, d_vocab, n_extremes, n_bins, weight_bytes, item_bytes, readings)


def _check_arguments(
    W_dec: Tensor,
    W_U: Tensor,
    precision: str,
    device: str | torch.device | None,
    n_extremes: int,
    n_bins: int,
) -> torch.device:
    if precision not in PRECISIONS:
        raise FsrlError(f"moments: precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
    if n_extremes < 0 or n_bins < 0:
        raise FsrlError(f"moments: n_extremes is {n_extremes} and n_bins is {n_bins}; both must be 0 or more")
    where = torch.device(W_dec.device if device is None else device)
    if where.type not in ("cpu", "cuda") or (where.type == "cuda" and not torch.cuda.is_available()):
        raise FsrlError(
            f"moments: device is {where}, which this machine lacks or float64 does; use cpu or cuda"
        )
    for name, matrix in (("W_dec", W_dec), ("W_U", W_U)):
        if matrix.dim() != 2 or matrix.numel() == 0 or not matrix.is_floating_point():
            shape = list(matrix.shape)
            raise FsrlError(
                f"moments: {name} is {matrix.dtype} {shape}; it must be a floating matrix, not empty"
            )
        if not _is_finite(matrix.detach()):
            check_finite(name, matrix)
    if W_dec.shape[1] != W_U.shape[0]:
        raise FsrlError(f"moments: W_dec has d_model {W_dec.shape[1]} but W_U has {W_U.shape[0]}")
    return where


def _is_finite(matrix: Float[Tensor, "rows columns"]) -> bool:
    """Whether all of it is, without a copy; of a large one some rows at a time, whose pages are let go."""
    for part in matrix.split(max(1, columns.WHOLE // matrix.shape[1])):
        if not torch.isfinite(torch.stack(part.aminmax())).all():
            return False
        columns.let_go(matrix)
    return True


class _Pass:
    """One pass over the product, panel by panel of the vocabulary, with what each reading makes of it."""

    def __init__(
        self,
        W_dec: Float[Tensor, "d_sae d_model"],
        vocabulary: Vocabulary,
        lenses: Sequence[Lens],
        mode: str,
        shape: moments_plan.Shape,
        tile: tuple[int, int],
        in_order: InOrder,
    ) -> None:
        self.W_dec, self.vocabulary, self.mode, self.shape = W_dec, vocabulary, mode, shape
        self.tile, self.in_order = tile, in_order
        self.device = vocabulary.mean.device
        self.dtype = MODES[mode].dtype
        self.blocks = [slice(start, start + tile[0]) for start in range(0, shape.n, tile[0])]
        self.features = [self._measured(lens) for lens in lenses]

    def _measured(self, lens: Lens) -> Features:
        """All of a reading that has a closed form, and the state before the first tile."""
        features = Features(lens, self.shape, self.dtype, self.device)
        rounding = moments_products.rounding(self.mode, self.shape.d_model)

        def measure(rows: slice) -> None:
            features.measure(rows, *self._scaled(rows), lens.gram, rounding)

        for _ in self.in_order(measure, self.blocks):
            pass
        return features

    def add_panel(self, start: int, stop: int, *, progress: bool | str) -> None:
        """Add the columns from start to stop, prepared once, to the state of every feature."""
        # A tile that is itself read gets overwritten: last, and of several such readings the others copy it.
        states = sorted(self.features, key=lambda features: features.lens.plain)
        spare = states[-1] if states and states[-1].lens.plain else None
        tiles = self._tiles(start, stop, states)

        def add_block(rows: slice) -> None:
            """Every tile of the panel, for these features."""
            operands = moments_products.prepare_rows(self.mode, self._scaled(rows)[0])
            blocks = [features.block(rows) for features in states]
            buffer = self._room(moments_units.PADDING)
            scratch = self._room(0)
            for prepared, pieces in tiles:
                product = moments_products.multiply(operands, prepared, buffer)
                for features, piece, block in zip(states, pieces, blocks, strict=True):
                    features.add(product, piece, block, None if features is spare else scratch)

        done = self.in_order(add_block, self.blocks)
        label = f"{progress if isinstance(progress, str) else 'moments'} of tokens {start}-{stop}"
        for _ in bar(done, label, show=bool(progress), total=len(self.blocks), unit="block"):
            pass

    def _tiles(self, start: int, stop: int, states: Sequence[Features]) -> list[tuple[Tensor, list[Piece]]]:
        """For each tile from start to stop: W_U's columns, prepared, and what every reading keeps of them."""

        starts = range(start, stop, self.tile[1])

        def end(first: int) -> int:
            return min(first + self.tile[1], stop)

        def prepare(first: int) -> Tensor:
            centred = self.vocabulary.columns(first, end(first))
            return moments_products.prepare_columns(self.mode, centred, self.tile[0])

        # Small tensors first: made between large ones, they keep the allocator from using freed room again.
        pieces = [
            [features.lens.piece(first, end(first), self.dtype) for features in states] for first in starts
        ]
        return list(zip(self.in_order(prepare, starts), pieces, strict=True))

    def _room(self, padding: int) -> Float[Tensor, "size"]:
        """Space for a tile."""
        size = self.tile[0] * (self.tile[1] + padding)
        return torch.empty(size, dtype=self.dtype, device=self.device)

    def _scaled(self, rows: slice) -> tuple[Float64[Tensor, "rows d_model"], Float64[Tensor, "rows"]]:
        """Directions in float64, and the powers of two that they were scaled by."""
        exact = self.W_dec[rows].detach().to(self.device, torch.float64, copy=True)
        scale = moments_vocabulary.power_of_two(torch.maximum(exact.amax(1), -exact.amin(1)))
        return exact.mul_(scale.unsqueeze(1)), scale


class ViewMoments(NamedTuple):
    """Moments under one view; token_ids: the token of each column that their ids count."""

    moments: LogitMoments
    token_ids: Int64[Tensor, "n_tokens"]


def decoder_moments(
    decoder: Decoder,
    unembedding: Unembedding,
    views: Mapping[str, Mapping[str, Any]],
    transport: Transport | Mapping[str, Transport] | None = None,
    **settings: Any,
) -> dict[str, ViewMoments]:
    """`logit_moments_of_views` of a decoder's rows; FsrlError too where it does not fit the model.

    transport: for views with it (`fsrl.weights.transport.groups`, whose errors are raised too).
    """
    return next(moments_of_decoders([decoder], unembedding, views, transport, **settings))[1]


def moments_of_decoders(
    decoders: Iterable[Decoder],
    unembedding: Unembedding,
    views: Mapping[str, Mapping[str, Any]],
    transport: Transport | Mapping[str, Transport] | None = None,
    **settings: Any,
) -> Iterator[tuple[Decoder, dict[str, ViewMoments]]]:
    """Each decoder in turn with its `decoder_moments`; one is held at a time, and W_U is measured once.

    Once for each decoder as well where a view has transport.
    """
    held, given = tee(decoders)
    plain = {name: view for name, view in views.items() if not is_carried(view)}
    moved = {name: view for name, view in views.items() if name not in plain}

    def fitting() -> Iterator[Tensor]:
        """W_dec of each, once it is known to be of this model's width."""
        for decoder in given:
            weights.check_fit(decoder, unembedding)
            yield decoder.W_dec

    passes: Iterable[dict[str, ViewMoments]] = ({} for _ in fitting())
    if plain:
        passes = views_of_each(fitting(), unembedding, plain, **settings)
    for decoder, found in zip(held, passes, strict=True):
        for seen, own in groups(unembedding, decoder.hook, moved, transport):
            found = found | logit_moments_of_views(decoder.W_dec, seen, own, **settings)
        yield decoder, {name: found[name] for name in views}


def logit_moments_of_views(
    W_dec: Tensor, unembedding: Unembedding, views: Mapping[str, Mapping[str, Any]], **settings: Any
) -> dict[str, ViewMoments]:
    """The moments of W_dec [d_sae, d_model] under each view, by its name and in the given order.

    views: name -> settings of `fsrl.weights.view`; settings: those of `fsrl.moments.logit_moments`. A view's
    result does not depend on the others. Raises FsrlError for what these functions refuse.
    """
    return next(views_of_each([W_dec], unembedding, views, **settings))


def views_of_each(
    W_decs: Iterable[Tensor],
    unembedding: Unembedding,
    views: Mapping[str, Mapping[str, Any]],
    **settings: Any,
) -> Iterator[dict[str, ViewMoments]]:
    """`logit_moments_of_views` of each W_dec in turn; W_U is read and measured once."""
    weights.check_settings(views)
    by_matrix: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, view in views.items():
        by_matrix.setdefault(view.get("w_u", "folded"), {})[name] = view
    parts = (
        _of_one_matrix(given, unembedding, w_u, own, settings)
        for given, (w_u, own) in zip(tee(W_decs, len(by_matrix)), by_matrix.items(), strict=True)
    )
    for found in zip(*parts, strict=True):
        by_name = {name: result for part in found for name, result in part.items()}
        yield {name: by_name[name] for name in views}


def _of_one_matrix(
    W_decs: Iterable[Tensor],
    unembedding: Unembedding,
    w_u: str,
    views: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> Iterator[dict[str, ViewMoments]]:
    readings, token_ids = [], []
    for view in views.values():
        W_U, kept = weights.stored_unembedding(unembedding, w_u=w_u, tokens=view.get("tokens", "all"))
        readings.append(Reading(kept, bool(view.get("cosine", False))))
        token_ids.append(kept)
    for found in logit_moments_of_each(W_decs, W_U, readings, **settings):
        yield dict(zip(views, map(ViewMoments, found, token_ids), strict=True))
