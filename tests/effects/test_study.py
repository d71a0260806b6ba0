"""A whole study measured: the layers' order and hooks, and that no more than is needed is held."""

import weakref

import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.models.sources import SAESource
from tests.fixtures import tiny_study as tiny
from tests.fixtures.effect_study import layer, study_of


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


def test_neurons_are_measured_where_they_are_active_and_where_not(tiny_study):
    source = SAESource(neurons=tiny.N_LAYERS)
    tables = [frame for frame, _ in study_of(tiny_study, "cpu", source.sae_ids, source=source)]
    assert len(tables) == tiny.N_LAYERS
    for frame in tables:
        assert set(frame["state"]) == {"active", "inactive"}
        assert set(frame["step"]) == {"+1", "-1", "+own", "-own"}
        own = frame.loc[(frame["step"] == "+own") & (frame["direction"] == "feature"), "alpha"]
        assert (own > 0).all()
