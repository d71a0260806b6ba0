"""A whole study steered: layers in their order, with transport and without, neurons, all features."""

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.effects import sample as effect_sample
from fsrl.errors import FsrlError
from fsrl.models import export, reading
from fsrl.models.sources import ModelSource, SAESource
from fsrl.steering import measure, study
from fsrl.weights.transport import Transport
from tests.fixtures import tiny_study as tiny
from tests.fixtures.effect_study import SAMPLE, layer, sampling

STEERED = {"features": "sampled", "multiple": 2, "top_tokens": 4, "prompts": ["The dog", "In 1905"]}


def steered(folder, *, hooks=tiny.SAE_IDS, layers=None, source=None, transport=None, **changes):
    """The tables of the tiny study's SAEs (or of `source`), with what is said of them."""
    model = reading.read_model(ModelSource(folder=str(folder / "model")))
    settings = study.Settings(
        measure.Steering.of(STEERED | changes),
        sampling(folder),
    )
    found = map(layer, hooks) if layers is None else layers
    inputs = (study.SteeringInputs(one.decoder, one.types, one.moments) for one in found)
    W_U = export.fold(model.W_U, model.bridge.ln_final.weight.detach())
    vocabulary = measure.Vocabulary(W_U, torch.arange(30, W_U.shape[1]))
    source = source or SAESource(folder=str(folder / "saes"))
    return list(study.measure_study(model, source, hooks, inputs, vocabulary, transport, settings))


def test_features_are_those_of_the_effects(tiny_study):
    (first, said), (second, _) = [(found.steering, said) for found, said in steered(tiny_study)]
    for hook, frame in zip(tiny.SAE_IDS, (first, second), strict=True):
        made = layer(hook)
        chosen = effect_sample.choose_features(
            made.types,
            made.moments.set_index("feature")["log10_density"],
            SAMPLE["features_per_type"],
            effect_sample.seed_of(0, made.decoder.sae),
        )
        assert frame["feature"].unique().tolist() == chosen["feature"].tolist()
        assert frame["direction"].tolist() == ["feature", "random"] * len(chosen)
    assert said["transport"].startswith("none") and first["transported_score"].isna().all()
    assert first["output_score"].notna().any()


def test_with_the_identity_for_T_both_forecasts_are_one(tiny_study):
    T = torch.eye(tiny.D_MODEL).expand(len(tiny.SAE_IDS), -1, -1).clone()
    found = steered(tiny_study, transport=Transport(T, tiny.SAE_IDS, {"sites": "4"}))
    for made, said in found:
        known = made.steering.dropna(subset=["output_score"])
        assert len(known)
        np.testing.assert_allclose(known["transported_forecast"], known["direct_forecast"], rtol=1e-4)
        np.testing.assert_allclose(known["transported_score"], known["output_score"], rtol=1e-4)
        assert said["transport"] == "same position, 4 sites"


def test_all_features_hold_the_sampled_ones_figures(tiny_study):
    sampled, every = (steered(tiny_study, features=which)[0][0].steering for which in ("sampled", "all"))
    assert every["feature"].nunique() == tiny.D_SAE > sampled["feature"].nunique()
    keys = ["feature", "direction"]
    figures = ["largest_activation", "output_score", "total_variation", "kl", "direct_forecast"]
    both = sampled.merge(every, on=keys, suffixes=("", "_all"), validate="1:1")
    assert len(both) == len(sampled)
    for name in figures:
        pd.testing.assert_series_equal(both[name], both[f"{name}_all"], check_names=False, rtol=1e-4)


def test_next_tokens_are_read_for_the_same_features(tiny_study):
    T = torch.eye(tiny.D_MODEL).expand(len(tiny.SAE_IDS), -1, -1).clone()
    for found, _ in steered(tiny_study, transport=Transport(T, tiny.SAE_IDS, {})):
        assert found.next_token["feature"].tolist() == found.steering["feature"].unique().tolist()
        fires = found.next_token[found.next_token["sites"] > 0]
        assert len(fires) and (fires["difference"].abs() < 1e-9).all()
        assert fires["direct"].between(0, 1).all()


def test_neurons_are_steered_too(tiny_study):
    source = SAESource(neurons=tiny.N_LAYERS)
    tables = [found.steering for found, _ in steered(tiny_study, hooks=source.sae_ids, source=source)]
    assert len(tables) == tiny.N_LAYERS
    for frame in tables:
        assert (frame["largest_activation"].dropna() > 0).all() and frame["output_score"].notna().any()


def test_a_layer_of_another_hook_than_said_is_refused(tiny_study):
    with pytest.raises(FsrlError, match="expected of blocks.0.hook_resid_pre"):
        steered(tiny_study, layers=[layer(hook) for hook in tiny.SAE_IDS[::-1]])
