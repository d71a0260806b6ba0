"""Measured effects of a whole study: one clean run of the model for all hooks, then layer after layer."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl import devices
from fsrl.effects import agreement, contexts, forward, scope
from fsrl.effects import encoders as effect_encoders
from fsrl.effects import frames as effect_frames
from fsrl.effects import measure as effect_measure
from fsrl.effects import sample as effect_sample
from fsrl.effects.own_pass import OwnPass
from fsrl.effects.sample import SampleSize, Sampling
from fsrl.errors import FsrlError
from fsrl.models import windows
from fsrl.models.reading import Model
from fsrl.models.sources import SAESource
from fsrl.nulls.quantiles import Bounds
from fsrl.types.rules import Scheme, TailScheme
from fsrl.weights.matrices import Decoder
from fsrl.weights.transport import SAID, Transport

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EffectInputs:
    """One SAE in one view: its decoder, rows of table `types` of one scheme, table `moments` of all features,
    and the quantiles of the nulls against which it is typed.
    """

    decoder: Decoder
    types: pd.DataFrame
    moments: pd.DataFrame
    known: Bounds


@dataclass(frozen=True, eq=False)
class Settings:
    """scheme: by which types are told; sampling: on what is measured."""

    scheme: Scheme | TailScheme
    sampling: Sampling


class LayerTables(NamedTuple):
    """Of one layer: tables `effects`, `effect_agreement` and `effect_peaks`, and what to say of them in
    their metadata.
    """

    effects: pd.DataFrame
    agreement: pd.DataFrame
    peaks: pd.DataFrame
    said: dict[str, str]


@dataclass(frozen=True, eq=False)
class _CleanRun:
    """What every layer is measured with, on the device: the text and its tokenizer, the rest of the model
    after any hook, what the model itself computed, its value biases, centred W_U and the sample's size; said:
    for the tables' metadata.
    """

    inputs: Int64[Tensor, "contexts positions"]
    tokenizer: Any
    rest: forward.Rest
    clean: forward.Clean
    b_V: Float[Tensor, "layers heads d_head"] | None
    vocabulary: agreement.Vocabulary
    size: SampleSize
    said: dict[str, str]


def measure_study(
    model: Model,
    source: SAESource,
    hooks: Sequence[str],
    layers: Iterable[EffectInputs],
    W_U: Float[Tensor, "d_model n_tokens"],
    settings: Settings,
    transport: Transport | None = None,
) -> Iterator[LayerTables]:
    """The tables of each layer.

    hooks: those of the layers' decoders, in their order, known before the layers are read: of these only one
    need be held at a time. W_U: folded, as the view sees it. In a GPT-2 positions are pushed by its blocks
    written out, in another model by its own forward pass, and nothing is predicted by a site's own Jacobian.
    transport: the study's matrices, if it has any. Raises FsrlError for a hook that the model lacks, for a
    layer of another hook than said, and for matrices of another model, without that hook or measured on the
    text that the effects are.
    """
    run = _run_clean(model, hooks, W_U, settings)
    if transport is not None:
        _check(transport, model, run)
        run.said.update(
            {f"transport_{name}": transport.metadata[name] for name in SAID if name in transport.metadata}
        )
    # A generator holds its arguments to the end: the model's own W_U and what it was read from can go.
    del W_U, model
    for hook, layer in zip(hooks, layers, strict=True):
        if layer.decoder.hook != hook:
            raise FsrlError(f"effects: {layer.decoder.sae} is of {layer.decoder.hook}, expected of {hook}")
        T = None if transport is None else transport.at(hook)
        yield _measure_layer(layer, source, run, settings, T)


def _check(transport: Transport, model: Model, run: _CleanRun) -> None:
    """What T predicts says nothing where it was fitted, nor in another model."""
    known, own = transport.metadata, model.metadata.get("model_sha256")
    if known.get("model_sha256") != own:
        raise FsrlError(
            f"effects: transport was measured in {known.get('model', 'another model')}, not in "
            f"{model.source.name}; build it again"
        )
    same = known["text_sha256"] == run.said["text_sha256"]
    if same and run.size.contexts not in json.loads(known["left_out"]):
        raise FsrlError(
            f"effects: transport was measured on this text without leaving out the {run.size.contexts} "
            "windows that effects are measured on; build it again"
        )


def _run_clean(
    model: Model,
    hooks: Sequence[str],
    W_U: Float[Tensor, "d_model n_tokens"],
    settings: Settings,
) -> _CleanRun:
    """The text through the model once, for all hooks."""
    device = devices.pick(settings.sampling.device)
    inputs, size, said = settings.sampling.of(model)
    bridge = model.bridge if device == "cpu" else model.bridge.to(device)
    inputs = inputs.to(device)
    places = [forward.place_in(bridge, hook) for hook in hooks]
    unlike = scope.unlike_gpt2(bridge.original_model.config.to_dict())
    caught = [*hooks, *effect_encoders.gates(bridge, hooks)]
    clean = forward.run_clean(bridge, inputs, places, caught, device, attention=unlike is None)
    rest: forward.Rest
    if unlike is None:
        rest = forward.Tail.of(bridge, device)
    else:
        rest = own = OwnPass.of(bridge, inputs, model.head.norm, clean)
        said["forward_pass"] = f"{own.described} ({unlike})"
    return _CleanRun(
        inputs=inputs,
        tokenizer=model.tokenizer,
        rest=rest,
        clean=clean,
        b_V=effect_encoders.value_biases(bridge, hooks),
        vocabulary=agreement.Vocabulary.of(W_U.to(device)),
        size=size,
        said=said,
    )


def _measure_layer(
    layer: EffectInputs,
    source: SAESource,
    run: _CleanRun,
    settings: Settings,
    T: Float[Tensor, "d_model d_model"] | None,
) -> LayerTables:
    decoder = layer.decoder
    seed = effect_sample.seed_of(settings.sampling.seed, decoder.sae)
    density = layer.moments.set_index("feature")["log10_density"]
    sample = effect_sample.choose_features(layer.types, density, run.size.features_per_type, seed)
    features = torch.tensor(sample["feature"].to_numpy(dtype="int64"))
    activations = _activations(decoder, source, run, features)
    measured = effect_measure.measure(
        run.rest,
        run.clean,
        decoder,
        run.vocabulary,
        features.tolist(),
        activations,
        positions=run.size.positions,
        seed=seed,
        T=T,
        own_jacobian=run.size.own_jacobian,
        progress=True,
    )
    n_tokens = run.vocabulary.centred.shape[1]
    typed_by = settings.scheme, layer.moments, layer.known
    return LayerTables(
        effect_frames.effects_frame(measured, sample, *typed_by, n_tokens=n_tokens),
        effect_frames.agreement_frame(measured, sample),
        contexts.peaks_frame(features.tolist(), activations, run.inputs, run.tokenizer),
        run.said,
    )


def _activations(
    decoder: Decoder,
    source: SAESource,
    run: _CleanRun,
    features: Int64[Tensor, "features"],
) -> Float[Tensor, "contexts positions features"]:
    """Activations of the features: by the SAE's encoder, or of the neurons themselves."""
    clean, hook = run.clean, decoder.hook
    if source.neurons is not None:
        gate = clean.hooks.get(effect_encoders.gate_of(hook))
        found = effect_encoders.of_neurons(clean.hooks[hook], features, gate)
    else:
        encoder = effect_encoders.read_encoder(source, decoder.sae, clean.final.device)
        found = effect_encoders.activations(
            encoder, clean.hooks[hook], hook, run.b_V, features, norm=run.rest.norm
        )
    never = int((found[:, windows.FIRST_POSITION :] == 0).all(0).all(0).sum())
    logger.info("%s: %d features, %d never active in the contexts", decoder.sae, len(features), never)
    return found
