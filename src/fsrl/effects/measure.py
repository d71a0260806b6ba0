"""Measured effects of one layer: a sample of features with their controls, position by position.

At every site eight vectors are added in turn: the feature's direction times +1, -1 and plus and minus its own
mean activation; and, times +1 and the same activation, a random direction of the same norm (`random`) and one
that has the same cosine with the stream at the site too (`matched`, `fsrl.effects.controls`). What the
changes are and how they lie beside what is predicted is read off in `fsrl.effects.read`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor
from tqdm import tqdm

from fsrl import threads
from fsrl.effects import agreement, controls, forward, read
from fsrl.effects import sample as effect_sample
from fsrl.effects.forward import Clean, Rest, Tail
from fsrl.effects.names import FEATURE, MATCHED
from fsrl.effects.read import FIXED, PUSHES, Columns, Pushed
from fsrl.effects.sample import Sites
from fsrl.effects.tangent import tangent
from fsrl.hooks import Place
from fsrl.weights.matrices import Decoder


@dataclass(frozen=True, eq=False)
class Measured:
    """changes: a row per site, ranked direction and step; readings: the same for each direction and
    prediction; averaged: per state instead of per site.
    """

    changes: pd.DataFrame
    readings: pd.DataFrame
    averaged: pd.DataFrame


def measure(
    rest: Rest,
    clean: Clean,
    decoder: Decoder,
    vocabulary: agreement.Vocabulary,
    features: Sequence[int],
    activations: Float[Tensor, "contexts positions features"],
    *,
    positions: int,
    seed: Sequence[int],
    T: Float[Tensor, "d_model d_model"] | None = None,
    own_jacobian: bool = False,
    batch: int | None = None,
    progress: bool = False,
) -> Measured:
    """Push every feature of the sample and compare the changes with what is predicted.

    vocabulary: of the folded W_U as a view sees it, where the clean run lies, which is where compute happens;
    features: rows of the decoder; activations: of these, on the CPU; positions: sites a state; seed: of sites
    and random directions, each feature's its own, so that another sample gives a feature the same figures;
    T: of the decoder's hook, None where none was measured: nothing is `transported` then; own_jacobian:
    whether the mean over a feature's own sites predicts too, where the blocks are a `Tail`; batch: sites
    pushed in one go, by default what memory allows (the figures don't depend on it).
    """
    seeds = [(*seed, int(feature)) for feature in features]
    sites = effect_sample.sites(activations, seeds, positions)
    own = effect_sample.mean_activation(activations)
    vectors, alphas = _vectors(decoder.W_dec, features, seeds).to(clean.final), _alphas(own).to(clean.final)
    T = None if T is None else T.to(clean.final)
    layer = _Layer(rest, clean, rest.place(decoder.hook), vectors, alphas, own_jacobian)
    index = torch.stack([sites.feature, sites.context, sites.position]).to(clean.final.device)
    noise = _noise(seeds, sites, vectors.shape[-1]).to(clean.final.device)
    # A model's own pass uses all threads itself, and takes the sites of a window together.
    pushed = None if isinstance(rest, Tail) else layer.push(index, noise)
    with threads.workers(clean.final.device) as pool:
        if pushed is None:
            size = batch or forward.rows(clean.final.device, layer.site_bytes())
            parts = pool.map(layer.push, index.split(size, dim=1), noise.split(size))
            pushed = Pushed.joined(list(parts))

        def of_feature(i: int) -> list[Columns]:
            """Its changes, readings and averages, a column a name."""
            rows = (sites.feature == i).nonzero().squeeze(1)
            state = sites.state[rows.numpy()]
            found = read.readings(pushed.at(rows), vectors[i], alphas[i], state, vocabulary, T, rest.norm)
            return [one | {"feature": np.full(len(one["state"]), features[i], np.int32)} for one in found]

        read_off = pool.map(of_feature, range(len(features)))
        bar = tqdm(read_off, decoder.sae, len(features), unit="feature", disable=None if progress else True)
        changes, readings, averaged = (pd.DataFrame(read.joined(parts)) for parts in zip(*bar, strict=True))
        return Measured(changes, readings, averaged)


@dataclass(frozen=True, eq=False)
class _Layer:
    """What one layer's pushes share; vectors: FIXED of each feature."""

    rest: Rest
    clean: Clean
    place: Place
    vectors: Float[Tensor, "features 3 d_model"]
    alphas: Float[Tensor, "features pushes"]
    own_jacobian: bool

    def site_bytes(self) -> int:
        """What one site takes on its way through a block: its versions, and its context's keys and values."""
        context = sum(kept[0][0].numel() for kept in (self.clean.keys, self.clean.values) if kept)
        blocks = self.rest.blocks if isinstance(self.rest, Tail) else []
        width = max((block.W_in.shape[1] for block in blocks), default=self.vectors.shape[-1])
        return self.vectors.element_size() * (2 * context + 4 * width * (len(PUSHES) + 1))

    def push(self, sites: Int64[Tensor, "3 sites"], noise: Float64[Tensor, "sites d_model"]) -> Pushed:
        """Sites: feature (place in the sample), context, position; noise: what picks their controls."""
        feature, context, position = sites
        at = self.clean.residual[self.place][context, position]
        fixed = dict(zip(FIXED, self.vectors[feature].unbind(1), strict=True))
        control = controls.matched(fixed[FEATURE].double(), at.double(), noise).to(at)
        directions = fixed | {MATCHED: control}
        alphas = torch.nan_to_num(self.alphas[feature], nan=1.0)
        added = alphas[..., None] * torch.stack([directions[name] for name, _ in PUSHES], dim=1)
        change = forward.changes(self.rest, self.clean, self.place, context, position, added)
        norm = self.rest.norm
        unit, scale = forward.normalise(self.clean.final[context, position], self.rest.eps, norm)
        length = forward.centred(at, norm).norm(dim=-1)
        carried = None
        if self.own_jacobian and isinstance(self.rest, Tail):
            carried = tangent(self.rest, self.clean, self.place, context, position, fixed[FEATURE])
        return Pushed(change, unit, scale[:, 0], added.norm(dim=-1) / length[:, None], control, carried)


def _vectors(
    W_dec: Float[Tensor, "d_sae d_model"], features: Sequence[int], seeds: Sequence[Sequence[int]]
) -> Float32[Tensor, "features 3 d_model"]:
    """FIXED: own direction, a random one of the same norm, another feature's."""
    found = []
    for feature, seed in zip(features, seeds, strict=True):
        rng = np.random.default_rng((*seed, 1))
        own = W_dec[feature]
        random = torch.from_numpy(rng.standard_normal(len(own)))
        random = (random / random.norm() * own.double().norm()).float()
        others = np.delete(np.arange(len(W_dec)), feature)
        other = own if not len(others) else W_dec[rng.choice(others)]
        found.append(torch.stack([own, random, other]))
    return torch.stack(found)


def _noise(seeds: Sequence[Sequence[int]], sites: Sites, d_model: int) -> Float64[Tensor, "sites d_model"]:
    """Standard normal numbers for each site, a feature's drawn with its own seed."""
    counts = np.bincount(sites.feature.numpy(), minlength=len(seeds))
    parts = [
        np.random.default_rng((*seed, 2)).standard_normal((count, d_model))
        for seed, count in zip(seeds, counts, strict=True)
    ]
    return torch.from_numpy(np.concatenate(parts))


def _alphas(own: Float64[np.ndarray, "features"]) -> Float64[Tensor, "features pushes"]:
    """NaN for steps of a mean activation that is unknown."""
    sizes = {"+1": np.ones_like(own), "-1": -np.ones_like(own), "+own": own, "-own": -own}
    return torch.from_numpy(np.stack([sizes[step] for _, step in PUSHES], axis=1))
