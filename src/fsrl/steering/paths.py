"""How an effect reaches the logits: straight, through the blocks between, or through the final LayerNorm's
scale.

With c the centred stream at the end before, c' after alpha d is added at a feature's hook, s and s' the final
LayerNorm's scales and P d the row centred, the change of the normalised stream is, exactly,

    c'/s' - c/s  =  alpha P d / s  +  (c' - c - alpha P d) / s  +  c' (1/s' - 1/s)
                    direct            blocks                       scale

Times W_U (folded) each is a change of the logits. The share of a term is its covariance with the whole change
over the view's tokens, divided by that change's variance: the three shares add up to 1, and one is negative
where its term works against the whole. In a model's last place there is no blocks term. Entropy neurons
(Stolfo et al. 2024, "Confidence Regulation Neurons in Language Models") act through the scale: they write
where W_U hardly reads and shrink all logits. So the change of the next token's entropy (in nats, over all
tokens) stands beside what it would be at the scale as it was.

Measured at the effects' sites where a feature is active, with its mean activation for alpha, beside a random
direction of the same norm at the same sites; figures are means over sites.

Example: a row along (1, ..., 1) has P d = 0 and changes nothing; at a last hook a row along c changes c'/s'
by nothing either, direct and scale cancelling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from fsrl import threads
from fsrl.effects import forward
from fsrl.effects import sample as effect_sample
from fsrl.hooks import Place, place_of
from fsrl.steering.measure import Activations, Vocabulary, chunks, random_rows
from fsrl.tables.steering import FEATURE, PATHS, RANDOM
from fsrl.weights.matrices import Decoder

TERMS = ("direct", "blocks", "scale")
# A whole change smaller than this share of float32's rounding of the normalised stream is none.
NOISE = 64.0
# Numbers of 4 bytes that one site and direction hold of a logit on the way.
COPIES = 6


@dataclass(frozen=True, eq=False)
class Split:
    """The three terms of a change of the normalised stream at the end, and that stream before."""

    direct: Float[Tensor, "*any d_model"]
    blocks: Float[Tensor, "*any d_model"]
    scale: Float[Tensor, "*any d_model"]
    before: Float[Tensor, "*any d_model"]

    @property
    def whole(self) -> Float[Tensor, "*any d_model"]:
        """The change itself."""
        return self.direct + self.blocks + self.scale


@dataclass(frozen=True, eq=False)
class End:
    """The rest of a model after a hook, what it computed, and how logits are read: all of
    `fsrl.steering.study`.

    offset: what the logits have beside the normalised stream times W_U.
    """

    tail: forward.Tail
    clean: forward.Clean
    vocabulary: Vocabulary
    offset: Float[Tensor, "d_vocab"]


def split(
    before: Float[Tensor, "*any d_model"],
    after: Float[Tensor, "*any d_model"],
    added: Float[Tensor, "*any d_model"],
    eps: float,
) -> Split:
    """The terms, from the stream at the end before and after `added` was added at a hook; eps: of the
    norm."""
    unit, scale = forward.normalise(before, eps)
    unit_after, scale_after = forward.normalise(after, eps)
    centred = added - added.mean(-1, keepdim=True)
    change = unit_after * scale_after - unit * scale
    direct = centred / scale
    # c' / s' - c' / s, without the cancellation of 1 / s' - 1 / s.
    by_scale = unit_after * (scale - scale_after) / scale
    return Split(direct, change / scale - direct, by_scale, unit)


def shares(
    terms: Split, of: Float64[Tensor, "d_model d_model"]
) -> tuple[Float64[Tensor, "terms *any"], Float64[Tensor, "*any"]]:
    """Each term's covariance with the whole over its variance; and the variance. NaN where nothing changed.

    of: `Vocabulary.covariance`.
    """
    whole = terms.whole.double()
    read = whole @ of
    variance = (read * whole).sum(-1)
    # The normalised stream has length sqrt(d_model).
    rounding = NOISE * torch.finfo(torch.float32).eps * whole.shape[-1] ** 0.5
    variance = variance.masked_fill(whole.norm(dim=-1) <= rounding, torch.nan)
    parts = torch.stack([(getattr(terms, name).double() * read).sum(-1) for name in TERMS])
    return parts / variance, variance


def entropies(logits: Float[Tensor, "*any d_vocab"]) -> Float[Tensor, "*any"]:
    """Of the next token's distribution, in nats."""
    shifted = logits - logits.amax(-1, keepdim=True)
    weights = shifted.exp()
    Z = weights.sum(-1)
    return Z.log() - (weights * shifted).sum(-1) / Z


def paths(
    decoder: Decoder,
    sample: pd.DataFrame,
    activations: Activations,
    end: End,
    *,
    positions: int,
    seed: Sequence[int],
) -> pd.DataFrame:
    """The table `paths` of one layer.

    sample, activations: as `fsrl.steering.measure.layer` has them; positions: sites of a feature; seed: of
    the SAE, as the effects have it, so that sites are theirs.
    """
    of = end.vocabulary.covariance
    parts = []
    for features in chunks(sample):
        found = activations(features)
        seeds = [(*seed, int(feature)) for feature in features]
        sites = effect_sample.sites(found, seeds, positions, inactive=False)
        alphas = torch.from_numpy(effect_sample.mean_activation(found))
        rows = decoder.W_dec[features].to(end.clean.final)
        both = torch.stack([rows, random_rows(rows, seeds)], dim=1)
        index = torch.stack([sites.feature, sites.context, sites.position])
        added = both * alphas.nan_to_num(0.0).to(both)[:, None, None]
        figures = _measured(end, place_of(decoder.hook), index.to(both.device), added, of)
        parts.append(_means(figures, index[0].numpy(), alphas.numpy()))
    rows = pd.concat(parts, ignore_index=True)
    made = sample.loc[sample.index.repeat(2)].reset_index(drop=True).join(rows)
    return made.astype({"type": "str", "direction": "str", "sites": "int64"})[list(PATHS.columns)]


def _measured(
    end: End,
    place: Place,
    index: Int64[Tensor, "3 sites"],
    added: Float[Tensor, "features 2 d_model"],
    of: Float64[Tensor, "d_model d_model"],
) -> Float64[Tensor, "6 sites 2"]:
    """Three shares, std of the change, change of entropy and at a fixed scale, of each site and direction."""
    d_vocab = end.vocabulary.W_U.shape[1]
    size = forward.rows(added.device, 4 * (COPIES * 5 * d_vocab + 64 * added.shape[-1]))

    def part(chosen: Int64[Tensor, "3 part"]) -> Float64[Tensor, "6 part 2"]:
        return _read_off(end, place, chosen, added, of)

    # Sites of one context are fast together, but on a GPU only many are.
    order = index[1].argsort(stable=True)
    counts = index[1].unique(return_counts=True)[1].tolist() if added.device.type == "cpu" else [len(order)]
    groups = [few for own in order.split(counts) for few in own.split(size)]
    # As in `fsrl.steering.measure.read`.
    with threads.workers(added.device) as pool:
        found = list(pool.map(part, [index[:, sites] for sites in groups]))
    return torch.cat(found, dim=1)[:, order.argsort().cpu()]


@torch.no_grad()
def _read_off(
    end: End,
    place: Place,
    index: Int64[Tensor, "3 sites"],
    added: Float[Tensor, "features 2 d_model"],
    of: Float64[Tensor, "d_model d_model"],
) -> Float64[Tensor, "6 sites 2"]:
    feature, context, position = index
    at = end.clean.residual[place][context, position][:, None]
    vectors = torch.cat([torch.zeros_like(added[feature][:, :1]), added[feature]], dim=1)
    # The stream as it was is pushed along: rounding is then the same on both sides of the difference.
    pushed = end.tail.push(at + vectors, place, end.clean, context, position)
    terms = split(pushed[:, :1].expand(-1, 2, -1), pushed[:, 1:], vectors[:, 1:], end.tail.eps)
    parts, variance = shares(terms, of)
    changes = _entropy_changes(pushed, end)
    return torch.cat([parts, variance.sqrt()[None], changes.double()]).cpu()


def _entropy_changes(pushed: Float[Tensor, "sites 3 d_model"], end: End) -> Float[Tensor, "2 sites 2"]:
    """Whole and at a fixed scale, from the end of the stream as it was and as each direction makes it."""
    unit, scale = forward.normalise(pushed, end.tail.eps)
    # c' / s is c' / s' times s' / s.
    ratio = scale[:, 1:] / scale[:, :1]
    few = forward.rows_in_cache(pushed.device, COPIES, 4 * 3 * end.offset.numel())
    found = []
    for some, at in zip(unit.split(few), ratio.split(few), strict=True):
        read = some @ end.vocabulary.W_U
        own = entropies(read + end.offset)
        fixed = entropies(torch.addcmul(end.offset, read[:, 1:], at))
        found.append(torch.stack([own[:, 1:], fixed]) - own[:, :1])
    return torch.cat(found, dim=1)


def _means(
    figures: Float64[Tensor, "6 sites 2"], feature: np.ndarray, alphas: Float64[np.ndarray, "features"]
) -> pd.DataFrame:
    """A row for each feature and direction: means over its sites, null where there are none."""
    names = [*(f"{name}_share" for name in TERMS), "std", "entropy_change", "fixed_scale_entropy_change"]
    parts = []
    for which, direction in enumerate((FEATURE, RANDOM)):
        frame = pd.DataFrame(dict(zip(names, figures[..., which].numpy(), strict=True)))
        groups = frame.groupby(feature)
        means = groups.mean().reindex(range(len(alphas)))
        sites = groups.size().reindex(range(len(alphas)), fill_value=0)
        means = means.assign(direction=direction, sites=sites, alpha=alphas)
        parts.append(means.assign(number=range(len(alphas)), order=which))
    both = pd.concat(parts).sort_values(["number", "order"], kind="stable", ignore_index=True)
    return both.drop(columns=["number", "order"])
