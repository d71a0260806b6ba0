"""The steering tables of a whole study: one clean run of the model for all hooks, then layer after layer."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from fsrl import devices
from fsrl.effects import encoders, forward
from fsrl.effects import sample as effect_sample
from fsrl.effects.sample import SampleSize, Sampling
from fsrl.errors import FsrlError
from fsrl.hooks import place_of
from fsrl.models.reading import Model
from fsrl.models.sources import SAESource
from fsrl.names import DEGENERATE
from fsrl.steering import measure, paths, prompts, reading
from fsrl.steering.measure import ALL, Steering, Vocabulary
from fsrl.steering.prompts import Prompts
from fsrl.tables.steering import FEATURE
from fsrl.weights.matrices import Decoder
from fsrl.weights.transport import Transport

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Settings:
    """steering: as the config has it; sampling: the effects'."""

    steering: Steering
    sampling: Sampling


@dataclass(frozen=True, eq=False)
class SteeringInputs:
    """One SAE in one view: its decoder, rows of table `types` of one scheme, table `moments`."""

    decoder: Decoder
    types: pd.DataFrame
    moments: pd.DataFrame


@dataclass(frozen=True, eq=False)
class LayerTables:
    """Of one SAE, by the names in `fsrl.tables.steering`."""

    steering: pd.DataFrame
    next_token: pd.DataFrame
    paths: pd.DataFrame


@dataclass(frozen=True, eq=False)
class _Run:
    """What every layer is measured with, on the device."""

    source: SAESource
    clean: forward.Clean
    inputs: Int64[Tensor, "contexts positions"]
    b_V: Float[Tensor, "layers heads d_head"]
    prompts: Prompts
    vocabulary: Vocabulary
    transport: Transport | None
    end: paths.End
    size: SampleSize
    said: dict[str, str]

    def T(self, hook: str) -> Float32[Tensor, "d_model d_model"] | None:
        """The matrix of a hook; None where the study has none."""
        return None if self.transport is None else self.transport.at(hook).to(self.vocabulary.W_U)


def measure_study(
    model: Model,
    source: SAESource,
    hooks: Sequence[str],
    layers: Iterable[SteeringInputs],
    vocabulary: Vocabulary,
    transport: Transport | None,
    settings: Settings,
) -> Iterator[tuple[LayerTables, dict[str, str]]]:
    """The tables of each layer, with what to say of them in their metadata.

    hooks: those of the layers' decoders, in their order; of the layers only one is held at a time. transport:
    None where the study has none: what needs it is null. Raises FsrlError for a model that is no GPT-2, for a
    layer of another hook than said and for a prompt that the model cannot read.
    """
    run = _run_clean(model, source, hooks, vocabulary, transport, settings)
    del model
    for hook, layer in zip(hooks, layers, strict=True):
        if layer.decoder.hook != hook:
            raise FsrlError(f"steering: {layer.decoder.sae} is of {layer.decoder.hook}, expected of {hook}")
        yield _measure_layer(layer, run, settings), run.said


def _run_clean(
    model: Model,
    source: SAESource,
    hooks: Sequence[str],
    vocabulary: Vocabulary,
    transport: Transport | None,
    settings: Settings,
) -> _Run:
    device = devices.pick(settings.sampling.device)
    inputs, size, said = settings.sampling.of(model)
    inputs = inputs.to(device)
    bridge = model.bridge if device == "cpu" else model.bridge.to(device)
    vocabulary = Vocabulary(vocabulary.W_U.to(device), vocabulary.token_ids.to(device))
    places = list(dict.fromkeys(place_of(hook) for hook in hooks))
    clean = forward.run_clean(bridge, inputs, places, hooks, device)
    watched = prompts.of_gpt2(bridge, model.tokenizer, settings.steering.prompts, places, vocabulary.W_U)
    return _Run(
        source=source,
        clean=clean,
        inputs=inputs.cpu(),
        b_V=bridge.b_V.detach(),
        prompts=watched,
        vocabulary=vocabulary,
        transport=transport,
        # In a raw GPT-2 it is the same at every position.
        end=paths.End(forward.Tail.of(bridge, device), clean, vocabulary, watched.offset[0]),
        size=size,
        said=said | {"transport": _said_of(transport)},
    )


def _said_of(transport: Transport | None) -> str:
    if transport is None:
        return "none: no view of the study carries directions, so columns of transported weights are null"
    return f"same position, {transport.metadata.get('sites', 'unknown')} sites"


def choose(
    types: pd.DataFrame, moments: pd.DataFrame, features: str, per_type: int, seed: Sequence[int]
) -> pd.DataFrame:
    """The features to measure, as `fsrl.effects.sample.choose_features` gives them; `all`: those with a
    shape."""
    density = moments.set_index("feature")["log10_density"]
    if features == ALL:
        per_type = len(types)
    shaped = types[types["type"] != DEGENERATE]
    return effect_sample.choose_features(shaped, density, per_type, seed)


def _measure_layer(layer: SteeringInputs, run: _Run, settings: Settings) -> LayerTables:
    decoder, steering, T = layer.decoder, settings.steering, run.T(layer.decoder.hook)
    seed = effect_sample.seed_of(settings.sampling.seed, decoder.sae)
    sample = choose(layer.types, layer.moments, steering.features, run.size.features_per_type, seed)
    watched = measure.Watched(run.prompts, run.vocabulary, run.inputs, T, steering)
    activations = _kept(_activations(decoder, run))
    started = time.perf_counter()
    frame = measure.layer(decoder, sample, activations, watched, seed)
    seconds = time.perf_counter() - started
    never = int(frame.loc[frame["direction"] == FEATURE, "largest_activation"].isna().sum())
    said = "%s: %d features steered in %.1f s, %d never active in the contexts"
    logger.info(said, decoder.sae, len(sample), seconds, never)
    read = reading.next_tokens(decoder, sample, activations, run.inputs, run.vocabulary, T)
    split = paths.paths(decoder, sample, activations, run.end, positions=run.size.positions, seed=seed)
    return LayerTables(frame, read, split)


def _kept(make: measure.Activations) -> measure.Activations:
    """The last features' activations are made once; of a sample they are all."""
    kept: dict[tuple[int, ...], Tensor] = {}

    def of(features: Int64[Tensor, "features"]) -> Float[Tensor, "contexts positions features"]:
        """Not to be changed."""
        key = tuple(features.tolist())
        if key not in kept:
            kept.clear()
            kept[key] = make(features)
        return kept[key]

    return of


def _activations(decoder: Decoder, run: _Run) -> measure.Activations:
    """By the SAE's encoder, or of the neurons themselves."""
    stored, hook = run.clean.hooks[decoder.hook], decoder.hook
    if run.source.neurons is not None:
        return partial(encoders.of_neurons, stored)
    encoder = encoders.read_encoder(run.source, decoder.sae, run.clean.final.device)
    return partial(encoders.activations, encoder, stored, hook, run.b_V)
