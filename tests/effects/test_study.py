"""A whole study measured: the layers' order and hooks, and that no more than is needed is held."""

import weakref

import pandas as pd
import pytest

from fsrl.effects import scope
from fsrl.errors import FsrlError
from fsrl.models.sources import SAESource
from tests.fixtures import architectures
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


def test_a_models_own_pass_gives_the_tables_of_the_tail(tiny_study, monkeypatch):
    """GPT-2's SAEs and neurons, each way."""
    for source in (None, SAESource(neurons=tiny.N_LAYERS)):
        hooks = tiny.SAE_IDS if source is None else source.sae_ids
        tails = study_of(tiny_study, "cpu", hooks, source=source)
        with monkeypatch.context() as patch:
            patch.setattr(scope, "unlike_gpt2", lambda config: "taken for another")
            owns = study_of(tiny_study, "cpu", hooks, source=source)
        for (tail, said), (own, own_said) in zip(tails, owns, strict=True):
            assert len(tail) and own["pearson"].notna().any()
            pd.testing.assert_frame_equal(own, tail, rtol=1e-3, atol=1e-4)
            expected = "the model's own, a position with the keys and values before it (taken for another)"
            assert own_said == said | {"forward_pass": expected}


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "gemma2"])
def test_neurons_of_other_models_are_measured(name, tmp_path):
    architectures.write(name, tmp_path / "model", intermediate_size=64)
    (tmp_path / "evaluation_text.txt").write_text("<|endoftext|>".join(tiny.TEXT * 2))
    source = SAESource(neurons=architectures.N_LAYERS)
    for frame, said in study_of(tmp_path, "cpu", source.sae_ids, source=source):
        assert set(frame["state"]) == {"active", "inactive"}
        assert set(frame["direction"]) == {"feature", "random", "other"}
        assert frame["pearson"].notna().any() and (frame["relative_step"] > 0).all()
        assert said["forward_pass"].startswith("the model's own, a position with the keys")
