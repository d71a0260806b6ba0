"""A whole study measured: the layers' order and hooks, and that no more than is needed is held."""

import dataclasses
import weakref
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.effects import contexts, forward, scope, tangent
from fsrl.errors import FsrlError
from fsrl.hooks import Place
from fsrl.models import reading, windows
from fsrl.models.sources import ModelSource, SAESource
from fsrl.tables import core
from fsrl.tables.effects import PEAKS
from fsrl.transport import fit
from tests.fixtures import architectures
from tests.fixtures import effect_examples as ex
from tests.fixtures import tiny_study as tiny
from tests.fixtures.effect_study import SAMPLE, layer, study_of


def test_layers_are_measured_in_their_order_and_held_one_at_a_time(tiny_study):
    hooks, held = [*tiny.SAE_IDS, *tiny.SAE_IDS[:1]], []

    def layers():
        for hook in hooks:
            # Of those before, only the last one may still be held.
            assert sum(kept() is not None for kept in held) <= 1
            made = layer(hook)
            held.append(weakref.ref(made))
            yield made

    tables = [found.agreement for found in study_of(tiny_study, "cpu", hooks, layers())]
    pd.testing.assert_frame_equal(tables[0], tables[2])
    assert not tables[0]["pearson"].equals(tables[1]["pearson"])


def test_a_layer_of_another_hook_than_said_is_refused(tiny_study):
    with pytest.raises(FsrlError, match="expected of blocks.0.hook_resid_pre"):
        study_of(tiny_study, "cpu", layers=[layer(hook) for hook in tiny.SAE_IDS[::-1]])


def test_neurons_are_measured_where_they_are_active_and_where_not(tiny_study):
    source = SAESource(neurons=tiny.N_LAYERS)
    tables = [found.effects for found in study_of(tiny_study, "cpu", source.sae_ids, source=source)]
    assert len(tables) == tiny.N_LAYERS
    for frame in tables:
        assert set(frame["state"]) == {"active", "inactive"}
        assert set(frame["step"]) == {"+1", "+own"}
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
        for (tail, of_tail, *_, said), (own, of_own, *_, own_said) in zip(tails, owns, strict=True):
            assert len(tail) and of_own["pearson"].notna().any()
            pd.testing.assert_frame_equal(own, tail, rtol=1e-3, atol=1e-4)
            of_tail = of_tail[of_tail["prediction"] != "own_mean"].reset_index(drop=True)
            pd.testing.assert_frame_equal(of_own, of_tail, rtol=1e-3, atol=1e-4)
            expected = "the model's own, a position with the keys and values before it (taken for another)"
            assert own_said == said | {"forward_pass": expected}


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "gemma2"])
def test_neurons_of_other_models_are_measured(name, tmp_path):
    architectures.write(name, tmp_path / "model", intermediate_size=64)
    (tmp_path / "evaluation_text.txt").write_text("<|endoftext|>".join(tiny.TEXT * 2))
    source = SAESource(neurons=architectures.N_LAYERS)
    for frame, agreement, _, said in study_of(tmp_path, "cpu", source.sae_ids, source=source):
        assert set(frame["state"]) == {"active", "inactive"}
        assert set(agreement["direction"]) == {"feature", "random", "matched", "other"}
        assert set(agreement["prediction"]) == {"direct", "corrected"}
        assert agreement["pearson"].notna().any() and (frame["relative_step"] > 0).all()
        assert said["forward_pass"].startswith("the model's own, a position with the keys")


def model_and_text(folder):
    text = (folder / "evaluation_text.txt").read_text()
    return reading.read_model(ModelSource(folder=str(folder / "model"))), text


def fitted(folder, **settings):
    model, text = model_and_text(folder)
    wanted = {"text": text, "context": 12, "sites": 4, "seed": 0, "leave_out": (SAMPLE["contexts"],)}
    return fit.fit(model, list(tiny.SAE_IDS), fit.Settings(**wanted | settings), progress=False)


def test_what_transport_is_fitted_on_is_not_what_effects_are_measured_on(tiny_study):
    model, text = model_and_text(tiny_study)
    settings = {"context": 12, "d_vocab": model.bridge.cfg.d_vocab}
    read = windows.windows(model.tokenizer, text, contexts=SAMPLE["contexts"], **settings)
    left = windows.windows(model.tokenizer, text, contexts=2, leave_out=(SAMPLE["contexts"],), **settings)
    assert len(read) == SAMPLE["contexts"] and len(left) == 2
    assert not {tuple(row) for row in read.tolist()} & {tuple(row) for row in left.tolist()}
    found = study_of(tiny_study, "cpu", transport=fitted(tiny_study))
    for one in found:
        assert set(one.agreement["prediction"]) == {"direct", "corrected", "transported", "own_mean"}
        assert one.said["transport_sites"] == "4"
    with pytest.raises(FsrlError, match="without leaving out the 6 windows"):
        study_of(tiny_study, "cpu", transport=fitted(tiny_study, leave_out=(4,)))
    other = dataclasses.replace(
        fitted(tiny_study), metadata=fitted(tiny_study).metadata | {"model_sha256": "x"}
    )
    with pytest.raises(FsrlError, match="transport was measured in"):
        study_of(tiny_study, "cpu", transport=other)


def test_without_transport_the_agreement_has_no_rows_of_it(tiny_study):
    for one in study_of(tiny_study, "cpu"):
        assert set(one.agreement["prediction"]) == {"direct", "corrected", "own_mean"}
        assert "transport_sites" not in one.said


def test_at_the_last_hook_the_measured_change_is_the_closed_form(tiny_study):
    """LN(x + a v) - LN(x) through the final gain and W_U, by the model's own logits, in float32 to 1e-5."""
    model, tail, clean, W_U = ex.study(tiny_study, torch.float32)
    last, rng = Place(ex.N_LAYERS, False), np.random.default_rng(0)
    for context, position in ((0, 1), (3, 11), (5, 6)):
        where = torch.tensor([context]), torch.tensor([position])
        added = torch.from_numpy(rng.standard_normal((1, 1, ex.D_MODEL))).float()
        found = (forward.changes(tail, clean, last, *where, added) @ W_U)[0, 0]
        x, v = (one.double().numpy() for one in (clean.final[where][0], added[0, 0]))

        def normed(x):
            return (x - x.mean()) / np.sqrt(x.var() + tail.eps)

        closed = (normed(x + v) - normed(x)) @ W_U.double().numpy()
        assert np.abs(found.numpy() - closed).max() < 1e-5 * np.abs(closed).max()
        said = ex.logits_change(model, context, position, last.name(ex.N_LAYERS), added[0, 0])
        said = said.numpy() - said.numpy().mean()
        assert np.abs(said - (closed - closed.mean())).max() < 1e-5 * np.abs(closed).max()


@pytest.mark.parametrize("layer_number", range(ex.N_LAYERS + 1))
def test_T_predicts_the_mean_change_by_an_infinitesimal_step(tiny_study, layer_number):
    """In float64 to 1e-6: T of some sites, and what small steps at these do on average, times the scale."""
    _, tail, clean, W_U = ex.study(tiny_study)
    place = Place(layer_number, False)
    sites_, positions = torch.tensor([0, 2, 3, 5, 5]), torch.tensor([1, 4, 11, 6, 7])
    (J,) = ex.through_norm(tail, clean, sites_, positions, [place]).values()
    v = torch.randn(ex.D_MODEL, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    predicted = v @ J.mean(0).T @ W_U
    step = 1e-6
    added = torch.stack([step * v, -step * v]).expand(len(positions), -1, -1)
    up, down = forward.changes(tail, clean, place, sites_, positions, added).unbind(1)
    _, scale = forward.normalise(clean.final[sites_, positions], tail.eps)
    measured = ((up - down) * scale / (2 * step)).mean(0) @ W_U
    assert (measured - predicted).norm() / predicted.norm() < 1e-6
    own = tangent.tangent(tail, clean, place, sites_, positions, v.expand(len(positions), -1)).mean(0)
    torch.testing.assert_close(own @ W_U, predicted, rtol=1e-10, atol=1e-10)


def test_sites_are_the_text_around_the_largest_activation(tiny_study, tmp_path):
    model, text = model_and_text(tiny_study)
    inputs = windows.windows(model.tokenizer, text, context=12, contexts=4)
    activations = torch.zeros(*inputs.shape, 3)
    activations[2, 5, 0], activations[1, 3, 0] = 2.0, 1.5
    # The first token of a window is no text, whatever is active there.
    activations[0, 0, 1], activations[3, 1, 1] = 9.0, 0.5
    found = contexts.peaks_frame([7, 2, 4], activations, inputs, model.tokenizer)
    core.write(found, tmp_path / "peaks.parquet", PEAKS, {})
    assert found["feature"].tolist() == [7, 2] and found["activation"].tolist() == [2.0, 0.5]
    decode = partial(model.tokenizer.backend_tokenizer.decode, skip_special_tokens=False)
    row = inputs[2].tolist()
    assert found.loc[0, ["before", "token", "after"]].tolist() == [
        decode(row[1:5]),
        decode(row[5:6]),
        decode(row[6:]),
    ]
    assert found.loc[1, "before"] == "" and found.loc[1, "token"] == decode(inputs[3, 1:2].tolist())
