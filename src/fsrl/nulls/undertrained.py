"""Which tokens a model hardly ever saw in training, where the training counts are unknown (GPT-2).

A token that never occurs is only ever pushed away from what does occur, so such tokens share one place in
W_U. A few hundred of them dominate the kurtosis of every direction's logit weights, random ones included.

Criterion (after Land & Bartolo 2024, "Fishing for Magikarp", arXiv 2405.05417, who also start from tokens
that cannot occur): the Euclidean distance of a token's raw W_U column from the mean of reference columns.
Tokens closer than a cut count as undertrained. References are, where there are five at least,

    the single-byte tokens that cannot occur in UTF-8 (C0, C1, F5 to FF: 13 bytes), of byte-level vocabularies
    and of those that fall back on bytes (<0xC0> in SentencePiece); else, together,
    tokens that were kept for later (<unused12>, [unused12], <|reserved_special_token_3|>) and
    columns of W_U that no token owns (padding, holes).

W_U is read, tied to the embedding or not: what never occurs is pushed away in W_U in either case, and there
it bends the logit weights. Where a model was padded after training its padding was not pushed, the distance
says nothing, no quantile falls (below) and every token is kept.

Where to cut: leave out the k closest tokens, for k on a grid from 0 to `MAX_SHARE` of the vocabulary (every
number at first, then steps of 5 %), and take the 0.999 quantile q(k) of the kurtosis of isotropic directions
over the rest. With k' where q is lowest and e(k) its Monte Carlo error:

    k = 0, no token left out, unless q(0) - q(k') > max(2 (e(0) + e(k')), WORTHWHILE_FALL * q(k'))
    else the smallest k at which the fall is over: q(k) - q(k') <= max(e(k'), TOLERANCE * q(k'))

The first line keeps a W_U without such tokens whole: in a Gaussian one q wanders by a few percent, since any
tokens left out change the sample, and a meaningful set that lies by the references takes its own tail with
it. Undertrained tokens take off much more: on `mini` 8.3 +- .2 falls to 3.9. One pass over the product
directions @ W_U serves all k: its columns lie in the order of distance, power sums are taken between one k
and the next and added up from the far end.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.nulls import frames as nulls
from fsrl.stats.quantiles import quantile, quantile_error
from fsrl.tokens import text as token_text
from fsrl.weights import columns
from fsrl.weights.matrices import check_finite

# RFC 3629: C0 and C1 could only start overlong forms, F5 to FF code points beyond U+10FFFF.
IMPOSSIBLE_BYTES = (0xC0, 0xC1, *range(0xF5, 0x100))
RESERVED = re.compile(r"[<\[]\|?(unused|reserved|extra(?!_id))[\w-]*\d\|?[>\]]", re.IGNORECASE)
MIN_REFERENCES = 5
QUANTILE = 0.999
MAX_SHARE = 0.05  # of the vocabulary that may be left out
GRID_RATIO = 1.05  # from one number of left-out tokens to the next
WORTHWHILE_FALL = 0.1  # share of the quantile that leaving tokens out must take off at all
TOLERANCE = 0.005  # share of the quantile within which it counts as fallen
# A tile of the product, 0.5 MiB in float32, stays in a core's second-level cache.
DIRECTIONS_PER_TILE = 512
TOKENS_PER_TILE = 256
# On a GPU, where every kernel has a fixed cost.
ON_CUDA = 16


class NoReferences(FsrlError):
    """Nothing in the vocabulary is known to be undertrained, so that distance from it means nothing."""


@dataclass(frozen=True, eq=False)
class Undertrained:
    """Result of `by_distance`.

    trained: False for the tokens left out; distance: from the references' mean, in units of raw W_U, NaN
    where no token is; curve: one row per candidate: left_out (tokens), distance (of the closest token kept),
    quantile (of kurtosis) and error (its Monte Carlo sd); description: one line for a table's metadata.
    """

    trained: Bool[Tensor, "d_vocab"]
    distance: Float64[Tensor, "d_vocab"]
    curve: pd.DataFrame
    description: str


def by_distance(
    W_U: Tensor,
    folded: Tensor,
    tokens: Sequence[str],
    *,
    draws: int,
    seed: int,
    spare: Float[Tensor, "d_model spare"] | None = None,
    owned: Bool[Tensor, "d_vocab"] | None = None,
) -> Undertrained:
    """Undertrained tokens by their distance from tokens that cannot occur (see the module's text).

    W_U, folded: [d_model, d_vocab] raw and folded, distances are taken in the first, logit weights in the
    second; tokens: as `fsrl.tokens.text` spells them; draws: isotropic directions (at least 999, for the
    quantile's error), seed: theirs; owned: columns of W_U that a token owns, None for all (the others are not
    trained); spare: columns of raw W_U beyond, that no token owns. Computed where the matrices lie; the
    result lies on the CPU. Raises `NoReferences` where the vocabulary has no references, FsrlError where
    shapes do not fit, or a weight is NaN or infinite. Warns where the quantile still falls at the largest
    share.
    """
    _check(W_U, folded, tokens)
    if owned is not None:
        return _of_owned(W_U, folded, tokens, owned, spare, draws=draws, seed=seed)
    rows, words = references(W_U, tokens, spare)
    distance = _distance(W_U.detach(), rows.mean(dim=1, keepdim=True))
    ordered, order = distance.sort(stable=True)
    candidates = _candidates(ordered)
    directions = nulls.isotropic_directions(folded.shape[0], draws=draws, seed=seed)
    kurtosis = kurtosis_without(directions, columns.taken(folded.detach(), order), candidates)
    curve = _curve(kurtosis, candidates, ordered)
    row = stop_of_fall(curve)
    cut = ordered[candidates[row]]
    description = _describe(curve, row, len(tokens), draws, seed, words)
    if 0 < row == len(curve) - 1:
        warnings.warn(f"{description}; it still falls there, the cut is the largest allowed", stacklevel=2)
        description += "; still falling at the largest share allowed"
    return Undertrained(distance >= cut, distance, curve, description)


def _of_owned(
    W_U: Float[Tensor, "d_model d_vocab"],
    folded: Float[Tensor, "d_model d_vocab"],
    tokens: Sequence[str],
    owned: Bool[Tensor, "d_vocab"],
    spare: Float[Tensor, "d_model spare"] | None,
    *,
    draws: int,
    seed: int,
) -> Undertrained:
    """`by_distance` on the columns that a token owns; the others are spare ones."""
    holes = [W_U[:, ~owned]] if spare is None else [W_U[:, ~owned], spare.to(W_U)]
    kept = [token for token, is_kept in zip(tokens, owned.tolist(), strict=True) if is_kept]
    known: dict[str, Any] = {"draws": draws, "seed": seed, "spare": torch.cat(holes, dim=1)}
    ids = owned.nonzero().squeeze(1)
    found = by_distance(columns.taken(W_U, ids), columns.taken(folded, ids), kept, **known)
    distance = torch.full(owned.shape, torch.nan, dtype=torch.float64)
    return replace(
        found,
        trained=torch.zeros_like(owned).masked_scatter(owned, found.trained),
        distance=distance.masked_scatter(owned, found.distance),
    )


def references(
    W_U: Float[Tensor, "d_model d_vocab"],
    tokens: Sequence[str],
    spare: Float[Tensor, "d_model spare"] | None = None,
) -> tuple[Float64[Tensor, "d_model references"], str]:
    """Columns of raw W_U that are known to be undertrained, and what they are in words.

    spare: columns that no token owns. Raises NoReferences where there are fewer than 5.
    """
    position = {token: column for column, token in enumerate(tokens)}
    names = [token_text.spell(bytes([byte])) for byte in IMPOSSIBLE_BYTES]
    bytes_ = [position[name] for name in names if name in position]
    wide = W_U.detach()
    if len(bytes_) >= MIN_REFERENCES:
        return wide[:, bytes_].double(), "the bytes that UTF-8 never uses"
    reserved = [column for column, token in enumerate(tokens) if RESERVED.fullmatch(token)]
    spare_rows = 0 if spare is None else spare.shape[1]
    if len(reserved) + spare_rows < MIN_REFERENCES:
        raise NoReferences(
            f"undertrained tokens: the vocabulary has {len(bytes_)} of the 13 bytes that UTF-8 never uses, "
            f"{len(reserved)} reserved tokens and {spare_rows} rows without a token, where {MIN_REFERENCES} "
            "are needed to tell them by; give token counts or use tokens: all"
        )
    found = wide[:, reserved] if spare is None else torch.cat([wide[:, reserved], spare.to(wide)], dim=1)
    return found.double(), f"{len(reserved)} reserved tokens and {spare_rows} rows without a token"


def kurtosis_without(
    directions: Float[Tensor, "draws d_model"],
    ordered: Float[Tensor, "d_model d_vocab"],
    candidates: Sequence[int],
    *,
    precision: torch.dtype = torch.float32,
) -> Float64[Tensor, "candidates draws"]:
    """Kurtosis of each direction's logit weights without the first k tokens; NaN where they are all equal.

    Computed where `ordered` lies.

    ordered: W_U, nearest token first; candidates: rising values of k; precision: dtype of the product and of
    sums within a tile, sums of tiles are float64. Memory: the result and a copy of W_U, whatever the
    product's size; a large copy lies in a file.
    """
    centred = _centred(ordered.detach(), candidates[-1], precision)
    blocks = [
        _kurtosis(_sums_between(block.to(centred), centred, candidates), centred.shape[1], candidates)
        for block in directions.split(DIRECTIONS_PER_TILE * (ON_CUDA if centred.is_cuda else 1))
    ]
    return torch.cat(blocks, dim=1)


def _centred(
    ordered: Float[Tensor, "d_model d_vocab"], last: int, precision: torch.dtype
) -> Float[Tensor, "d_model d_vocab"]:
    """W_U less the mean of its columns from `last` on, by its largest entry: fourth powers stay in float32's
    range. The tokens that every candidate keeps are the centre: little is left to correct for the others.
    """
    centre = columns.mean(ordered[:, last:]).unsqueeze(1)
    peak = max((ordered[:, tile].double() - centre).abs().max() for tile in columns.tiles(ordered))
    if not columns.is_large(ordered):
        return ((ordered.double() - centre) / peak).to(precision)
    found = columns.empty(ordered, ordered.shape[1], precision)
    for tile in columns.tiles(ordered, found):
        found[:, tile] = (ordered[:, tile].double() - centre) / peak
    return found


def _distance(
    W_U: Float[Tensor, "d_model d_vocab"], centre: Float64[Tensor, "d_model 1"]
) -> Float64[Tensor, "d_vocab"]:
    """Of each column from the centre, on the CPU."""
    parts = [(W_U[:, tile].double() - centre).norm(dim=0).cpu() for tile in columns.tiles(W_U)]
    return torch.cat(parts)


def stop_of_fall(curve: pd.DataFrame) -> int:
    """Row of `curve` (columns quantile, error) where the fall is over, by the module's rule."""
    lowest = curve.loc[curve["quantile"].idxmin()]
    fall = (curve["quantile"] - lowest["quantile"]).to_numpy()
    errors = curve["error"].iloc[0] + lowest["error"]
    if fall[0] <= max(2 * errors, WORTHWHILE_FALL * lowest["quantile"]):
        return 0
    return int((fall <= max(lowest["error"], TOLERANCE * lowest["quantile"])).argmax())


def _check(W_U: Tensor, folded: Tensor, tokens: Sequence[str]) -> None:
    if W_U.dim() != 2 or W_U.shape != folded.shape or W_U.shape[1] != len(tokens):
        raise FsrlError(
            f"undertrained tokens: raw W_U is {list(W_U.shape)}, folded W_U {list(folded.shape)}, "
            f"with {len(tokens)} tokens; both must be [d_model, d_vocab] with one column a token"
        )
    check_finite("raw W_U", W_U)
    check_finite("folded W_U", folded)


def _candidates(ordered: Float64[Tensor, "d_vocab"]) -> list[int]:
    """Numbers of tokens to leave out, rising from 0; tokens equally far stay or go together."""
    grid, largest = [0, 1], max(1, int(MAX_SHARE * len(ordered)))
    while grid[-1] < largest:
        grid.append(min(max(grid[-1] + 1, round(grid[-1] * GRID_RATIO)), largest))
    return torch.searchsorted(ordered, ordered[grid]).unique().tolist()


def _sums_between(
    rows: Float[Tensor, "rows d_model"], centred: Float[Tensor, "d_model d_vocab"], candidates: Sequence[int]
) -> Float64[Tensor, "candidates 4 rows"]:
    """Sums of the logit weights' powers 1 to 4 over the tokens from one candidate to the next (the last one:
    to the end).
    """
    d_vocab = centred.shape[1]
    sums = torch.zeros(len(candidates), 4, len(rows), dtype=torch.float64, device=rows.device)
    width = TOKENS_PER_TILE * (ON_CUDA if rows.is_cuda else 1)
    for i, (first, last) in enumerate(zip(candidates, [*candidates[1:], d_vocab], strict=True)):
        for start in range(first, last, width):
            tile = rows @ centred[:, start : min(start + width, last)]
            squares = tile * tile
            powers = [tile.sum(1), squares.sum(1), tile.mul_(squares).sum(1), squares.mul_(squares).sum(1)]
            sums[i] += torch.stack(powers)
    return sums


def _kurtosis(
    sums: Float64[Tensor, "candidates 4 rows"], d_vocab: int, candidates: Sequence[int]
) -> Float64[Tensor, "candidates rows"]:
    """From the sums between candidates; NaN for a constant row."""
    kept = d_vocab - torch.tensor(candidates, dtype=torch.float64, device=sums.device)
    raw = sums.flip(0).cumsum(0).flip(0) / kept[:, None, None]
    mean, second, third, fourth = raw.unbind(1)
    variance = second - mean**2
    central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
    return (central / variance**2).masked_fill(variance <= 0, torch.nan)


def _curve(
    kurtosis: Float64[Tensor, "candidates draws"],
    candidates: Sequence[int],
    ordered: Float64[Tensor, "d_vocab"],
) -> pd.DataFrame:
    frames = [pd.DataFrame({"kurtosis": row}) for row in kurtosis.cpu().numpy()]
    return pd.DataFrame(
        {
            "left_out": candidates,
            "distance": ordered[candidates].cpu().numpy(),
            "quantile": [quantile(frame, "kurtosis", QUANTILE) for frame in frames],
            "error": [quantile_error(frame, "kurtosis", QUANTILE) for frame in frames],
        }
    )


def _describe(curve: pd.DataFrame, row: int, d_vocab: int, draws: int, seed: int, words: str) -> str:
    start, stop = curve.iloc[0], curve.iloc[row]
    left_out = int(stop["left_out"])
    measure = f"the {QUANTILE} quantile of the kurtosis of {draws} isotropic directions (seed {seed})"
    over_all = f"{start['quantile']:.3f} +- {start['error']:.3f} over all tokens"
    if not left_out:
        return f"0 of {d_vocab} tokens left out: {measure}, {over_all}, hardly falls as tokens are left out"
    return (
        f"{left_out} of {d_vocab} tokens left out: raw W_U closer than {stop['distance']:.4g} to the mean of "
        f"{words}; there {measure}, {over_all}, stops falling: "
        f"{stop['quantile']:.3f} +- {stop['error']:.3f}"
    )
