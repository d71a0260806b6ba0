"""A whole study measured: the layers' order and hooks, and that no more than is needed is held."""

import weakref

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.effects import study as effect_study
from fsrl.errors import FsrlError
from fsrl.models import export, reading
from fsrl.models.sources import ModelSource, SAESource
from fsrl.weights.matrices import Decoder
from tests.fixtures import tiny_study as tiny
from tests.unit.test_effect_tables import NULL, SCHEME

FEATURES = np.arange(tiny.D_SAE, dtype=np.int32)
TYPES = pd.DataFrame({"feature": FEATURES, "type": ["prediction", "partition"] * (tiny.D_SAE // 2)})
SAMPLE = {"features_per_type": 2, "positions": 2, "contexts": 6}


def layer(hook):
    """Random directions at a hook of the tiny study."""
    W_dec = torch.randn(tiny.D_SAE, tiny.D_MODEL, generator=torch.Generator().manual_seed(len(hook)))
    density = pd.Series(np.nan, index=FEATURES)
    return effect_study.Layer(Decoder(W_dec, None, hook, 1, hook, {}), TYPES, density, NULL)


def study_of(folder, device, hooks=tiny.SAE_IDS, layers=None):
    """The tables of the tiny study's SAEs, with what is said of them."""
    model = reading.read_model(ModelSource(folder=str(folder / "model")))
    settings = effect_study.Settings(
        SCHEME,
        (folder / "evaluation_text.txt").read_text(),
        context=12,
        sample=SAMPLE,
        large_model_on_cpu=SAMPLE | {"million_parameters": 1},
        seed=0,
        device=device,
    )
    layers = map(layer, hooks) if layers is None else layers
    W_U = export.fold(model.W_U, model.bridge.ln_final.weight.detach())
    source = SAESource(folder=str(folder / "saes"))
    return list(effect_study.measure_study(model, source, hooks, layers, W_U, settings))


def test_layers_are_measured_in_their_order_and_held_one_at_a_time(tiny_study):
    hooks, held = [*tiny.SAE_IDS, *tiny.SAE_IDS[:1]], []

    def layers():
        for hook in hooks:
            # Of those before, only the last one may still be held.
            assert sum(kept() is not None for kept in held) <= 1
            made = layer(hook)
            held.append(weakref.ref(made))
            yield made

    tables = [frame for frame, _ in study_of(tiny_study, "cpu", hooks, layers())]
    pd.testing.assert_frame_equal(tables[0], tables[2])
    assert not tables[0]["pearson"].equals(tables[1]["pearson"])


def test_a_layer_of_another_hook_than_said_is_refused(tiny_study):
    with pytest.raises(FsrlError, match="expected of blocks.0.hook_resid_pre"):
        study_of(tiny_study, "cpu", layers=[layer(hook) for hook in tiny.SAE_IDS[::-1]])
