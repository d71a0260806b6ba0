"""Measured effects of one layer: a sample of features with their controls, position by position.

At every site six vectors are added in turn: the feature's direction times +1, -1 and plus and minus its own
mean activation, and a random direction of the same norm times +1 and the same activation. Each change is held
against the weights of what was added (`feature`, `random`), and the feature's change also against the weights
of another feature (`other`), the wrong ones.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Float64, Int64, Shaped
from torch import Tensor
from tqdm import tqdm

from fsrl.effects import agreement, forward
from fsrl.effects import sample as effect_sample
from fsrl.effects.agreement import SIDES
from fsrl.effects.forward import Clean, Rest, Tail
from fsrl.hooks import Place
from fsrl.weights.matrices import Decoder

# Rows of the vectors of a feature: its own direction, a random one, another feature's.
OWN, RANDOM, OTHER = range(3)
STEPS = ("+1", "-1", "+own", "-own")
# What is added at each site: which vector, how much of it.
PUSHES = tuple((OWN, step) for step in STEPS) + ((RANDOM, "+1"), (RANDOM, "+own"))
# What is read off: name, step, which push, against the weights of which vector.
READINGS = (
    *(("feature", step, i, OWN) for i, step in enumerate(STEPS)),
    ("random", "+1", 4, RANDOM),
    ("random", "+own", 5, RANDOM),
    ("other", "+1", 0, OTHER),
    ("other", "+own", 2, OTHER),
)
PAIRWISE = ("pearson", "spearman", "slope", "explained", "overlap")
MOMENTS = ("mean", "std", "skewness", "kurtosis", *SIDES)


@dataclass(frozen=True, eq=False)
class Measured:
    """readings: a row per site, direction and step, and (averaged) per state of each feature; weights: the
    moments of the logit weights of each feature's three vectors.
    """

    readings: pd.DataFrame
    weights: pd.DataFrame


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
    batch: int | None = None,
    progress: bool = False,
) -> Measured:
    """Push every feature of the sample and compare the changes with the weights.

    vocabulary: of the folded W_U as a view sees it, where the clean run lies, which is where compute happens;
    features: rows of the decoder; activations: of these, on the CPU; positions: sites a state; seed: of sites
    and random directions, each feature's its own, so that another sample gives a feature the same figures;
    batch: sites pushed in one go, by default what memory allows (the figures don't depend on it).
    """
    seeds = [(*seed, int(feature)) for feature in features]
    sites = effect_sample.sites(activations, seeds, positions)
    own = effect_sample.mean_activation(activations)
    vectors, alphas = _vectors(decoder.W_dec, features, seeds).to(clean.final), _alphas(own).to(clean.final)
    layer = _Layer(rest, clean, rest.place(decoder.hook), vectors, alphas, vocabulary)
    index = torch.stack([sites.feature, sites.context, sites.position]).to(clean.final.device)
    # A model's own pass uses all threads itself, and takes the sites of a window together.
    done = None if isinstance(rest, Tail) else [layer.push(index)]
    with agreement.single_threads(clean.final.device) as workers, ThreadPoolExecutor(workers) as pool:
        if done is None:
            size = batch or forward.rows(clean.final.device, layer.site_bytes())
            done = list(pool.map(layer.push, index.split(size, dim=1)))
        change, scale, relative = (torch.cat(parts) for parts in zip(*done, strict=True))
        pushed = _Pushed(change, scale, relative, sites.state)

        def read(i: int) -> pd.DataFrame:
            part = pushed.at((sites.feature == i).nonzero().squeeze(1))
            return layer.readings(i, part).assign(feature=np.int32(features[i]))

        read_off = pool.map(read, range(len(features)))
        bar = tqdm(read_off, decoder.sae, len(features), unit="feature", disable=None if progress else True)
        readings = pd.concat(list(bar), ignore_index=True)
    return Measured(readings, layer.weights(features))


@dataclass(frozen=True, eq=False)
class _Pushed:
    """Sites of all features or of one; scale: of the final norm; relative: step."""

    change: Float[Tensor, "sites pushes d_model"]
    scale: Float[Tensor, "sites"]
    relative: Float[Tensor, "sites pushes"]
    state: Shaped[np.ndarray, "sites"]

    def at(self, rows: Int64[Tensor, "chosen"]) -> "_Pushed":
        """Some of the sites, by their numbers."""
        return _Pushed(self.change[rows], self.scale[rows], self.relative[rows], self.state[rows.numpy()])

    def with_averages(self) -> "_Pushed":
        """The sites, then for each state one that stands for their average.

        The change of the logits is linear in that of the normalised stream, so the latter can be averaged.
        """
        states = np.unique(self.state)
        groups = [torch.from_numpy(np.flatnonzero(self.state == state)) for state in states]
        return _Pushed(
            torch.cat([self.change, *(self.change[rows].mean(0, keepdim=True) for rows in groups)]),
            torch.cat([self.scale, *(1 / (1 / self.scale[rows]).mean(0, keepdim=True) for rows in groups)]),
            torch.cat([self.relative, *(self.relative[rows].mean(0, keepdim=True) for rows in groups)]),
            np.concatenate([self.state, states]),
        )


@dataclass(frozen=True, eq=False)
class _Layer:
    """What one layer's measurements share; vectors: OWN, RANDOM and OTHER of each feature."""

    rest: Rest
    clean: Clean
    place: Place
    vectors: Float[Tensor, "features 3 d_model"]
    alphas: Float[Tensor, "features pushes"]
    vocabulary: agreement.Vocabulary

    def site_bytes(self) -> int:
        """What one site takes on its way through a block: its versions, and its context's keys and values."""
        context = sum(kept[0][0].numel() for kept in (self.clean.keys, self.clean.values) if kept)
        blocks = self.rest.blocks if isinstance(self.rest, Tail) else []
        width = max((block.W_in.shape[1] for block in blocks), default=self.vectors.shape[-1])
        return self.vectors.element_size() * (2 * context + 4 * width * (len(PUSHES) + 1))

    def push(
        self, sites: Int64[Tensor, "3 sites"]
    ) -> tuple[Float[Tensor, "sites pushes d_model"], Float[Tensor, "sites"], Float[Tensor, "sites pushes"]]:
        """change, scale and relative step of sites: feature (place in the sample), context, position."""
        feature, context, position = sites
        alphas = torch.nan_to_num(self.alphas[feature], nan=1.0)
        added = alphas[..., None] * self.vectors[feature][:, [vector for vector, _ in PUSHES]]
        change = forward.changes(self.rest, self.clean, self.place, context, position, added)
        norm = self.rest.norm
        _, scale = forward.normalise(self.clean.final[context, position], self.rest.eps, norm)
        length = forward.centred(self.clean.residual[self.place][context, position], norm).norm(dim=-1)
        return change, scale[:, 0], added.norm(dim=-1) / length[:, None]

    def readings(self, i: int, pushed: _Pushed) -> pd.DataFrame:
        """Rows site by site, READINGS within; steps of an activation that is unknown are left out."""
        pushed = pushed.with_averages()
        m, pushes = pushed.change.shape[:2]
        alpha = torch.nan_to_num(self.alphas[i], nan=1.0).expand(m, pushes).flatten()
        scale = pushed.scale[:, None].expand(m, pushes).flatten()
        direct = agreement.direct_shapes(self.vectors[i], self.vocabulary)
        flat = agreement.agreement(pushed.change.flatten(0, 1), alpha, scale, direct, self.vocabulary)
        push = torch.tensor([reading[2] for reading in READINGS], device=flat.mean.device)
        vector = torch.tensor([reading[3] for reading in READINGS], device=flat.mean.device)
        columns = {name: getattr(flat, name).view(m, pushes, -1)[:, push, vector] for name in PAIRWISE}
        columns |= {name: getattr(flat, name).view(m, pushes)[:, push] for name in MOMENTS}
        columns["odd_share"] = self._odd(pushed.change)[:, push].masked_fill(
            columns["pearson"].isnan(), torch.nan
        )
        columns["relative_step"] = pushed.relative[:, push]
        columns["alpha"] = self.alphas[i, push].expand(m, len(READINGS))
        frame = {name: column.double().cpu().numpy().ravel() for name, column in columns.items()}
        frame |= {
            "averaged": np.repeat(np.arange(m) >= m - len(np.unique(pushed.state)), len(READINGS)),
            "state": np.repeat(pushed.state, len(READINGS)),
            "direction": np.tile([reading[0] for reading in READINGS], m),
            "step": np.tile([reading[1] for reading in READINGS], m),
        }
        return pd.DataFrame(frame).dropna(subset="alpha")

    def _odd(self, change: Float[Tensor, "sites pushes d_model"]) -> Float64[Tensor, "sites pushes"]:
        odd = torch.full(change.shape[:2], torch.nan, dtype=torch.float64, device=change.device)
        for plus, minus in ((0, 1), (2, 3)):
            share = agreement.odd_share(change[:, plus], change[:, minus], self.vocabulary)
            odd[:, plus] = odd[:, minus] = share
        return odd

    def weights(self, features: Sequence[int]) -> pd.DataFrame:
        """Moments of the logit weights of the three vectors of each feature."""
        frames = []
        for feature, vectors in zip(features, self.vectors, strict=True):
            direct = agreement.direct_shapes(vectors, self.vocabulary)
            columns = {name: getattr(direct, name).double().cpu().numpy() for name in MOMENTS}
            norm = vectors.norm(dim=-1).double().cpu()
            frames.append(
                pd.DataFrame({"feature": np.int32(feature), "vector": range(3), "norm": norm, **columns})
            )
        return pd.concat(frames, ignore_index=True)


def _vectors(
    W_dec: Float[Tensor, "d_sae d_model"], features: Sequence[int], seeds: Sequence[Sequence[int]]
) -> Float32[Tensor, "features 3 d_model"]:
    """Own direction, a random one of the same norm, another feature's."""
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


def _alphas(own: Float64[np.ndarray, "features"]) -> Float64[Tensor, "features pushes"]:
    """NaN for steps of a mean activation that is unknown."""
    sizes = {"+1": np.ones_like(own), "-1": -np.ones_like(own), "+own": own, "-own": -own}
    return torch.from_numpy(np.stack([sizes[step] for _, step in PUSHES], axis=1))
