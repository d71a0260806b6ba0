"""Which features steer most: the workflow's table of these very weights, or the same measured here.

What is measured here goes through the whole model with hooks (`fsrl.steering.prompts.of_hooks`), on the text
that lies beside it, with the workflow's settings, seeds and, unless features are named, its sample of them.
"""

import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl import arguments, defaults, files
from fsrl.adapter.hooked_model import HookedModel
from fsrl.analyzer.settings import ViewSettings
from fsrl.analyzer.tables import FeatureTables
from fsrl.effects import encoders
from fsrl.effects import sample as effect_sample
from fsrl.errors import FsrlError
from fsrl.hooks import place_of
from fsrl.models import examples, windows
from fsrl.models.head import read_head
from fsrl.steering import measure, prompts
from fsrl.tables.steering import FEATURE
from fsrl.weights.matrices import Decoder

logger = logging.getLogger(__name__)

# Columns of table `steering` that features can be ranked by.
_SCORES = ("output_score", "transported_score", "input_score")
BY = (*_SCORES, "total_variation", "kl", "output_score_percentile", "total_variation_percentile")
# What says how a feature was drawn, not how it steers.
_DRAWN = ("direction", "type", "stratum")


def check(by: Any, top_k: Any) -> None:
    """Raise FsrlError for what features cannot be ranked by, and for a number of rows that there is not."""
    arguments.require(by in BY, "rank for steering", "by", by, f"choose one of {', '.join(BY)}")
    right = top_k is None or arguments.is_whole(top_k, 1)
    arguments.require(right, "rank for steering", "top_k", top_k, "give a whole number from 1 on, or None")


def rank(table: pd.DataFrame, features: Sequence[int] | None, *, by: str, top_k: int | None) -> pd.DataFrame:
    """Rows of features of a table `steering`, the highest first; those without the figure are left out."""
    rows = table[table["direction"] == FEATURE]
    rows = rows if features is None else rows[rows["feature"].isin(features)]
    rows = rows.dropna(subset=[by]).sort_values([by, "feature"], ascending=[False, True])
    rows = rows.drop(columns=list(_DRAWN)).reset_index(drop=True)
    return rows if top_k is None else rows.iloc[:top_k]


def table_of(
    sae_model: HookedModel,
    tables: FeatureTables,
    text: Any,
    features: Sequence[int] | None,
    settings: ViewSettings,
) -> pd.DataFrame:
    """The table `steering`: the workflow's if it has all these features, else measured.

    text: the path of one. Raises FsrlError where there is none, and for a model without a final LayerNorm.
    """
    found = tables.steering(settings)
    if found is not None and (features is None or set(features) <= set(found["feature"])):
        return found
    return _measured(sae_model, tables, text, features, settings)


def _measured(
    sae_model: HookedModel,
    tables: FeatureTables,
    text: Any,
    features: Sequence[int] | None,
    settings: ViewSettings,
) -> pd.DataFrame:
    model, hook, decoder = sae_model.model, sae_model.hook_name, tables.weights.decoder
    if text is None:
        raise FsrlError(
            "rank for steering: the features' largest activations are measured on a text, and none is at "
            "hand; give text= a file of some"
        )
    if (norm := read_head(model, "rank for steering").norm) != "LayerNorm":
        raise FsrlError(f"rank for steering: the model's final norm is {norm}; a LayerNorm is needed")
    steered, seed = (
        measure.Steering.of(defaults.STEERING),
        effect_sample.seed_of(defaults.EFFECTS_SEED, decoder.sae),
    )
    view, transport = tables.view(settings), tables.weights.transport
    device = next(model.parameters()).device
    with sae_model.disabled(), torch.no_grad():
        inputs, size = _windows(model, text, str(device))
        W_U = tables.weights.unembedding.folded.to(device)
        place = place_of(hook)
        watched = measure.Watched(
            prompts.of_hooks(model, model.tokenizer, steered.prompts, [place], W_U),
            measure.Vocabulary(W_U, view.token_ids.to(device)),
            inputs,
            None if transport is None else transport.at(hook).to(device),
            steered,
        )
        sample = _sample(tables, settings, features, size.features_per_type, seed)
        logger.info("%s: %d features are steered here", decoder.sae, len(sample))
        stored = examples.at_hook(model, hook, inputs)
        return measure.layer(decoder, sample, _activations(sae_model, stored), watched, seed)


def _windows(model: Any, text: Any, device: str) -> tuple[Int64[Tensor, "windows context"], Any]:
    size = effect_sample.sample_size(
        sample=defaults.EFFECTS_SAMPLE,
        large_model_on_cpu=defaults.LARGE_MODEL_ON_CPU,
        parameters=sum(part.numel() for part in model.parameters()),
        device=device,
    )
    found = windows.windows(
        model.tokenizer,
        files.read_text(text),
        context=min(defaults.EFFECTS_CONTEXT, int(model.cfg.n_ctx)),
        contexts=size.contexts,
        d_vocab=model.cfg.d_vocab,
    )
    return found, size


def _sample(
    tables: FeatureTables,
    settings: ViewSettings,
    features: Sequence[int] | None,
    per_type: int,
    seed: Sequence[int],
) -> pd.DataFrame:
    """The workflow's sample, or the features that are named, whose types nobody need know."""
    density = _densities(tables.weights.decoder)
    if features is None:
        return effect_sample.choose_features(tables.types(settings), density, per_type, seed)
    chosen = sorted(set(features))
    frame = pd.DataFrame(
        {"feature": pd.Series(chosen, dtype="int32"), "type": "not asked", "stratum": len(chosen)}
    )
    return frame.assign(log10_density=density.reindex(chosen).to_numpy())


def _densities(decoder: Decoder) -> pd.Series:
    known = decoder.log10_density
    values = torch.full((len(decoder.W_dec),), torch.nan) if known is None else known
    return pd.Series(values.numpy())


def _activations(sae_model: HookedModel, stored: Tensor) -> measure.Activations:
    model, hook, sae = sae_model.model, sae_model.hook_name, sae_model.sae_adapter.sae

    def of(features: Int64[Tensor, "features"]) -> Float[Tensor, "contexts positions features"]:
        """Activations on the CPU; the SAE reads flat heads meanwhile."""
        joins = getattr(sae, "hook_z_reshaping_mode", False)
        try:
            return encoders.activations(sae, stored, hook, model.b_V.detach(), features)
        finally:
            if joins:
                sae.turn_on_forward_pass_hook_z_reshaping()

    return of
