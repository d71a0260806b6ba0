"""Which features, contexts and positions the effects are measured on: seeded, stratified, never the whole.

Features: up to a number of each type (one stratum each), and within a type spread evenly over the densities.
Contexts: windows of a text, spread evenly over it (`fsrl.models.windows`). Positions: for each feature one
position in each of several contexts where it is active, and as many where it is not, so that the positions of
a feature are independent and a standard error over them is one over contexts.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from torch import Tensor

from fsrl import devices
from fsrl.errors import FsrlError
from fsrl.models import windows
from fsrl.models.reading import Model
from fsrl.models.windows import FIRST_POSITION
from fsrl.names import DEGENERATE, LABELS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleSize:
    """features of each type, positions of each feature in each state, contexts to look for them in;
    own_jacobian: whether a feature's own mean Jacobian predicts too.
    """

    features_per_type: int
    positions: int
    contexts: int
    own_jacobian: bool

    def __post_init__(self) -> None:
        if min(self.features_per_type, self.positions, self.contexts) < 1:
            raise FsrlError(f"effects: {self}; every number must be 1 or more")


class Sampled(NamedTuple):
    """Windows of a text, on the CPU; the sample's size; what to say of both in tables' metadata."""

    inputs: Int64[Tensor, "contexts positions"]
    size: SampleSize
    said: dict[str, str]


@dataclass(frozen=True, eq=False)
class Sampling:
    """text: what the model reads; context: tokens in a window; sample and large_model_on_cpu as in the
    config; seed: of features, positions and random directions; device: auto, cpu or cuda.

    Effects and steering are given the same, so that their features and sites are the same.
    """

    text: str
    context: int
    sample: Mapping[str, Any]
    large_model_on_cpu: Mapping[str, Any]
    seed: int
    device: str

    def of(self, model: Model) -> Sampled:
        """For a model; the log says which size was taken."""
        device = devices.pick(self.device)
        parameters = sum(part.numel() for part in model.bridge.original_model.parameters())
        size = sample_size(
            sample=self.sample,
            large_model_on_cpu=self.large_model_on_cpu,
            parameters=parameters,
            device=device,
        )
        logger.info("%.1f million parameters on %s: %s", parameters / 1e6, device, size)
        inputs, said = read_windows(
            model, self.text, context=self.context, contexts=size.contexts, device=device
        )
        return Sampled(inputs, size, said | {"sample": str(size), "seed": str(self.seed)})


def read_windows(
    model: Model, text: str, *, context: int, contexts: int, device: str
) -> tuple[Int64[Tensor, "contexts positions"], dict[str, str]]:
    """Windows of a text as the model reads it, no longer than it can; what to say of them and the device."""
    length = min(context, int(model.bridge.cfg.n_ctx))
    inputs = windows.windows(
        model.tokenizer, text, context=length, contexts=contexts, d_vocab=model.bridge.cfg.d_vocab
    )
    return inputs, {
        **devices.described(device),
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "contexts": f"{len(inputs)} windows of {length} tokens, spread over the text",
        "first_token": str(windows.first_token(model.tokenizer)),
    }


@dataclass(frozen=True, eq=False)
class Sites:
    """Where features are added: feature (place in the sample), context, position, state."""

    feature: Int64[Tensor, "sites"]
    context: Int64[Tensor, "sites"]
    position: Int64[Tensor, "sites"]
    state: Shaped[np.ndarray, "sites"]


def sample_size(
    *, sample: Mapping[str, Any], large_model_on_cpu: Mapping[str, Any], parameters: int, device: str
) -> SampleSize:
    """`sample`, or `large_model_on_cpu` on a CPU for a model above its million_parameters."""
    smaller = dict(large_model_on_cpu)
    limit = smaller.pop("million_parameters") * 10**6
    return SampleSize(**(smaller if device == "cpu" and parameters > limit else sample))


def seed_of(seed: int, sae: str) -> tuple[int, int]:
    """Each SAE's own seed, whatever other SAEs are measured."""
    return seed, int.from_bytes(hashlib.sha256(sae.encode()).digest()[:4])


def choose_features(
    types: pd.DataFrame, density: pd.Series, per_type: int, seed: Sequence[int]
) -> pd.DataFrame:
    """Up to `per_type` features of each type: columns feature, type, log10_density, stratum.

    types: rows of one scheme of table `types`; density: log10 density by feature, or nulls. A type with fewer
    features is taken whole; of a larger one every k-th in the order of density, from a random start. stratum
    is the number of features of the type. Features without a shape (degenerate) have no reading to check and
    are left out. Sorted by feature; the same seed gives the same sample. Raises FsrlError where every feature
    is degenerate.
    """
    frame = types[["feature", "type"]].assign(log10_density=density.reindex(types["feature"]).to_numpy())
    rng = np.random.default_rng(seed)
    parts = []
    for label in LABELS:
        # Shuffled first: features of one density (or of none that is known) are in random order.
        start, order = rng.random(), rng.permutation(len(frame))
        stratum = frame.iloc[order]
        stratum = stratum[stratum["type"] == label].sort_values("log10_density", kind="stable")
        if label == DEGENERATE or stratum.empty:
            continue
        size = len(stratum)
        n = min(per_type, size)
        parts.append(stratum.iloc[((np.arange(n) + start) * size / n).astype(int)].assign(stratum=size))
    if not parts:
        raise FsrlError("effects: every feature is degenerate; there is nothing to measure")
    return pd.concat(parts).sort_values("feature", ignore_index=True)


def sites(
    activations: Float[Tensor, "contexts positions features"],
    seeds: Sequence[Sequence[int]],
    n: int,
    *,
    inactive: bool = True,
) -> Sites:
    """Up to n positions a state of each feature, each in another context, drawn with the feature's own seed.

    activations: of the sampled features, active where not 0. A feature that is never active has no active
    positions. inactive: whether those where it is not are wanted; the active ones are the same without.
    """
    found: list[tuple[int, int, int]] = []
    states: list[str] = []
    fires = (activations != 0).permute(2, 0, 1).contiguous().numpy()
    for feature, (active, seed) in enumerate(zip(fires, seeds, strict=True)):
        rng = np.random.default_rng(seed)
        for state, allowed in (("active", active), ("inactive", ~active))[: 1 + inactive]:
            picked = _one_a_context(allowed, n, rng)
            found += [(feature, context, position) for context, position in picked]
            states += [state] * len(picked)
    places = torch.tensor(found, dtype=torch.int64).view(-1, 3)
    return Sites(places[:, 0], places[:, 1], places[:, 2], np.array(states))


def _one_a_context(
    allowed: Bool[np.ndarray, "contexts positions"], n: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """A random allowed position in each of up to n random contexts that have one, contexts in order."""
    allowed = allowed.copy()
    allowed[:, :FIRST_POSITION] = False
    contexts = rng.permutation(len(allowed))
    ranks = rng.random(allowed.shape)
    contexts = contexts[allowed[contexts].any(axis=1)][:n]
    return [(int(c), int(np.where(allowed[c], ranks[c], -1.0).argmax())) for c in sorted(contexts)]


def mean_activation(
    activations: Float[Tensor, "contexts positions features"],
) -> Float64[np.ndarray, "features"]:
    """Mean over the positions where a feature is active; NaN where there is none."""
    values = activations[:, FIRST_POSITION:].flatten(0, 1)
    # As numbers and not as bool: they are added up in half the time.
    active = torch.ne(values, 0, out=torch.empty_like(values))
    return (values.sum(0, dtype=torch.float64) / active.sum(0, dtype=torch.float64)).numpy()
