"""Which token sets a feature promotes or suppresses: effect sizes z, eta^2 and t in closed form, and p.

With w = d @ W_U the logit weights of a decoder row d over V tokens (mean mu, population variance sigma^2), a
set S of m tokens, and delta = mean(W_U over S) - mean(W_U over all tokens), the set's mean logit weight
differs from the vocabulary's by d . delta: one product for all features and sets. sigma^2 = d^T G d with G
W_U's covariance over the vocabulary. Nothing of size [features, vocabulary] is ever computed.

    z     = d . delta / (sigma / sqrt(m) * sqrt((V - m) / (V - 1)))   textbook error with the finite
                                                                      population correction
    eta^2 = m / (V - m) * (d . delta)^2 / sigma^2 = z^2 / (V - 1)     share of sigma^2 between S and the rest

Both are effect sizes. z has sd 1 if the tokens of S are drawn at random, but tokens of a set have correlated
columns: under random directions z of "starts with space" has an sd of 11 to 23. What is tested instead is
whether d is aligned with S more than a direction of its layer is by chance. With C the second moment of the
layer's decoder rows (see `fsrl.enrichment.covariance`) and k its rank,

    r = d . delta / sqrt((d^T C^-1 d) (delta^T C delta)),   t = r sqrt(k - 1) / sqrt(1 - r^2)

where r is the cosine between C^-1/2 d and C^1/2 delta. For directions from N(0, C) t is, exactly, Student's
on k - 1 degrees of freedom. Rows of real decoders have heavier tails, so that t is an effect size too and p
comes from a null of each row's own (see `fsrl.enrichment.row_nulls`).

Stratified by token frequency, delta is instead the difference between the set's mean and the mean expected
of a set with the same frequencies: with m_s of the m tokens of S in stratum s,

    delta_stratified = mean(W_U over S) - sum_s m_s / m * mean(W_U over s).

Example: of the logit weights (0, 0, 0, 4) the last token alone has z = 3 / (sqrt(3) * 1) and eta^2 = 1.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32, Float64, Int, Int64
from torch import Tensor

from fsrl import devices
from fsrl.constants import SET_DRAWS, SMALLEST_SET
from fsrl.enrichment import row_nulls
from fsrl.enrichment.covariance import RANK_TOLERANCE, LayerCovariance, check_matrix, layer_covariance
from fsrl.errors import FsrlError
from fsrl.weights import columns

FEATURES_PER_BLOCK = 1024
TOKENS_PER_BLOCK = 2048
# As in fsrl.moments: a std below this many float32 roundings of the product is rounding.
ROUNDING_MARGIN = 8.0


@dataclass(frozen=True, eq=False)
class SetStatistics:
    """Statistics of every feature and set, computed in float64.

    z, eta2, t, log10_p (two-sided, of each row's own null): see the module. t_stratified and
    log10_p_stratified are None where no strata were given. NaN throughout for a set of fewer than 5 tokens or
    of more than V - 5 (sizes: its tokens; tested: whether it is none of these); for a row of zeros; in z and
    eta2 for a row with constant logit weights; in the stratified pair for a set that is a union of strata.
    k: rank of C; shrinkage: its weight on the mean eigenvalue.
    """

    z: Float32[Tensor, "features n_sets"]
    eta2: Float32[Tensor, "features n_sets"]
    t: Float32[Tensor, "features n_sets"]
    log10_p: Float32[Tensor, "features n_sets"]
    t_stratified: Float32[Tensor, "features n_sets"] | None
    log10_p_stratified: Float32[Tensor, "features n_sets"] | None
    sizes: Int64[Tensor, "n_sets"]
    tested: Bool[Tensor, "n_sets"]
    k: int
    shrinkage: float


@dataclass(frozen=True, eq=False)
class _Vocabulary:
    """Both deltas (not tested: NaN) and the covariance of W_U's columns."""

    delta: Float64[Tensor, "d_model n_sets"]
    delta_stratified: Float64[Tensor, "d_model n_sets"] | None
    gram: Float64[Tensor, "d_model d_model"]
    rounding: Float64[Tensor, ""]  # std that rounding gives a direction of length 1


def frequency_strata(counts: Int[Tensor, "n_tokens"]) -> Int64[Tensor, "n_tokens"]:
    """Strata of log frequency: octaves of counts + 1.

    counts: of each token, 0 or more. The counts of two tokens of a stratum differ by less than a factor of 2.
    """
    # frexp is exact where floor(log2) of a power of two may not be.
    return torch.frexp((counts + 1).double()).exponent.long() - 1


def testable(sets: Bool[Tensor, "n_sets n_tokens"]) -> Bool[Tensor, "n_sets"]:
    """Which sets are of at least 5 tokens and leave out at least 5."""
    sizes = sets.sum(dim=1)
    return (sizes >= SMALLEST_SET) & (sizes <= sets.shape[1] - SMALLEST_SET)


def set_statistics(
    W_dec: Tensor,
    W_U: Tensor,
    sets: Tensor,
    *,
    strata: Tensor | None = None,
    covariance: LayerCovariance | None = None,
    nulls: row_nulls.NullDirections | None = None,
) -> SetStatistics:
    """z, eta^2, t and log10 p of the rows of W_dec [features, d_model] and sets, bool [n_sets, n_tokens].

    W_U: [d_model, n_tokens], centred over the vocabulary or not. strata: int64 [n_tokens], a label of each
    token, see `frequency_strata`. covariance: C, by default that of W_dec; give the layer's where W_dec holds
    other rows. nulls: of `fsrl.enrichment.row_nulls.null_directions` for this W_U, by default 20,000 of each
    kind from seed 0; give them where several decoders share a W_U. Computed where W_U lies, in float64 (the
    nulls' cosines in float32); the result lies on the CPU. Raises FsrlError for weights that are not finite
    and shapes that do not fit.
    """
    check_arguments(W_dec, W_U, sets)
    if strata is not None and (strata.shape != sets.shape[1:] or strata.is_floating_point()):
        raise FsrlError(
            f"enrichment: strata is {strata.dtype} {list(strata.shape)}; give one label per token"
        )
    where = devices.for_float64(W_U)
    W_dec, W_U, sets = (given.detach().to(where) for given in (W_dec, W_U, sets))
    covariance = layer_covariance(W_dec) if covariance is None else covariance
    if covariance.whiten.shape[0] != W_dec.shape[1]:
        raise FsrlError(
            f"enrichment: C has d_model {covariance.whiten.shape[0]} but W_dec has {W_dec.shape[1]}"
        )
    if nulls is None:
        nulls = row_nulls.null_directions(W_U, draws=SET_DRAWS, seed=0)
    own = nulls.of_layer(covariance)
    vocabulary = _prepare(W_U, sets, strata)
    blocks = [
        _block(rows.double(), vocabulary, sets, covariance, own) for rows in W_dec.split(FEATURES_PER_BLOCK)
    ]
    joined: dict[str, Any] = {"t_stratified": None, "log10_p_stratified": None}
    for name in list(blocks[0]):
        joined[name] = torch.cat([block.pop(name) for block in blocks])
    sizes, tested = sets.sum(dim=1).cpu(), testable(sets).cpu()
    return SetStatistics(**joined, sizes=sizes, tested=tested, k=covariance.k, shrinkage=covariance.shrinkage)


def check_arguments(W_dec: Tensor, W_U: Tensor, sets: Tensor) -> None:
    """Raise FsrlError unless W_dec [features, d_model], W_U [d_model, n_tokens] and bool sets [n_sets,
    n_tokens] fit.
    """
    check_matrix("W_dec", W_dec)
    check_matrix("W_U", W_U)
    if W_dec.shape[1] != W_U.shape[0]:
        raise FsrlError(f"enrichment: W_dec has d_model {W_dec.shape[1]} but W_U has {W_U.shape[0]}")
    if sets.dtype != torch.bool or sets.dim() != 2 or sets.shape[1] != W_U.shape[1] or not len(sets):
        raise FsrlError(
            f"enrichment: sets is {sets.dtype} {list(sets.shape)}; it must be bool [n_sets, {W_U.shape[1]}], "
            "one row per set and one column per token"
        )


def _prepare(
    W_U: Float[Tensor, "d_model n_tokens"],
    sets: Bool[Tensor, "n_sets n_tokens"],
    strata: Int[Tensor, "n_tokens"] | None,
) -> _Vocabulary:
    (d_model, n_tokens), device = W_U.shape, W_U.device
    groups = torch.zeros(n_tokens, dtype=torch.int64)
    if strata is not None:
        groups = strata.cpu().unique(return_inverse=True)[1]
    in_group, groups = groups.bincount().to(device), groups.to(device)
    names = torch.arange(len(in_group), device=device).unsqueeze(1)
    tiles = [slice(start, start + TOKENS_PER_BLOCK) for start in range(0, n_tokens, TOKENS_PER_BLOCK)]
    total = torch.zeros(d_model, dtype=torch.float64, device=device)
    for tile in tiles:  # not at once: torch would make a float64 copy of W_U
        total += W_U[:, tile].double().sum(dim=1)
        columns.let_go(W_U)
    mean = total / n_tokens
    gram, sums, group_sums, shared = (
        torch.zeros(shape, dtype=torch.float64, device=device)
        for shape in (
            (d_model, d_model),
            (d_model, len(sets)),
            (d_model, len(names)),
            (len(names), len(sets)),
        )
    )
    for tile in tiles:
        centred = W_U[:, tile].double() - mean.unsqueeze(1)
        members, group = sets[:, tile].T.double(), (groups[tile] == names).double()
        gram += centred @ centred.T
        sums += centred @ members
        group_sums += centred @ group.T
        shared += group @ members
        columns.let_go(W_U)
    gram /= n_tokens
    spread, sizes = gram.trace().sqrt(), sets.sum(dim=1)
    delta = (sums / sizes).masked_fill(~testable(sets), torch.nan)
    stratified = None
    if strata is not None:
        stratified = delta - (group_sums / in_group) @ (shared / sizes)
        # A difference this small beside the columns is rounding: the set is a union of strata.
        small = stratified.norm(dim=0) <= RANK_TOLERANCE * spread
        stratified = stratified.masked_fill(small, torch.nan)
    rounding = torch.finfo(torch.float32).eps * spread + torch.finfo(torch.float64).eps * mean.norm()
    return _Vocabulary(delta, stratified, gram, ROUNDING_MARGIN * rounding)


def _block(
    rows: Float64[Tensor, "features d_model"],
    vocabulary: _Vocabulary,
    sets: Bool[Tensor, "n_sets n_tokens"],
    covariance: LayerCovariance,
    nulls: row_nulls.NullDirections,
) -> dict[str, Float32[Tensor, "features n_sets"]]:
    """Columns of `SetStatistics` for some rows of W_dec."""
    n_tokens, sizes = sets.shape[1], sets.sum(dim=1).double()
    variance = ((rows @ vocabulary.gram) * rows).sum(dim=1, keepdim=True).clamp(min=0)
    constant = variance.sqrt() <= vocabulary.rounding * rows.norm(dim=1, keepdim=True)
    standardised = (rows @ vocabulary.delta) / variance.sqrt().masked_fill(constant, torch.nan)
    z = standardised * (sizes * (n_tokens - 1) / (n_tokens - sizes)).sqrt()
    found = {"z": z, "eta2": z.pow(2) / (n_tokens - 1)}
    deltas = {"": vocabulary.delta, "_stratified": vocabulary.delta_stratified}
    known = {suffix: delta for suffix, delta in deltas.items() if delta is not None}
    white = rows @ covariance.whiten
    white = white / white.norm(dim=1, keepdim=True)
    cosines = torch.cat([white @ unit_coloured(delta, covariance) for delta in known.values()], dim=1)
    # The stratified deltas are held against the same nulls: one fit for both.
    own = row_nulls.RowNulls.of(white, nulls)
    log10_p = own.log10_p(cosines, sizes.long().repeat(len(known)), n_tokens)
    t = row_nulls.student(cosines, covariance.k)
    for name, values in (("t", t), ("log10_p", log10_p)):
        found |= {
            name + suffix: part for suffix, part in zip(known, values.split(len(sets), dim=1), strict=True)
        }
    return {name: values.float().cpu() for name, values in found.items()}


def unit_coloured(
    delta: Float64[Tensor, "d_model n_sets"], covariance: LayerCovariance
) -> Float64[Tensor, "k n_sets"]:
    """C^1/2 delta of length 1; NaN where it has none."""
    found = covariance.colour.T @ delta
    return found / found.norm(dim=0)
