"""Activations as the SAE was trained to read them, in units of the residual stream."""

import pytest
import torch

from fsrl.effects import encoders as effect_encoders
from fsrl.effects import forward
from fsrl.models import reading
from fsrl.models.sources import ModelSource, SAESource
from tests.fixtures import architectures
from tests.fixtures import effect_examples as ex
from tests.fixtures import tiny_study as tiny
from tests.fixtures.adapter_examples import make_sae

STORED = torch.randn(3, 5, tiny.D_MODEL, generator=torch.Generator().manual_seed(0)) + 2
FEATURES = torch.tensor([7, 2])
NO_BIAS = torch.zeros(2, 2, 8)


@pytest.fixture
def sae(tiny_study):
    return effect_encoders.read_encoder(SAESource(folder=str(tiny_study / "saes")), tiny.SAE_IDS[0])


def by_hand(sae, x):
    """ReLU((x - b_dec) W_enc + b_enc) of the features."""
    x = x - sae.b_dec if sae.cfg.apply_b_dec_to_input else x
    return torch.relu(x @ sae.W_enc + sae.b_enc)[..., FEATURES].detach()


def test_the_residual_stream_is_centred_first(sae):
    found = effect_encoders.activations(sae, STORED, "blocks.0.hook_resid_pre", NO_BIAS, FEATURES)
    assert found.shape == (3, 5, 2)
    assert (found > 0).any()
    torch.testing.assert_close(found, by_hand(sae, STORED - STORED.mean(-1, keepdim=True)))


def test_hook_z_is_flat_and_without_the_value_bias(sae):
    b_V = torch.randn(2, 2, 8, generator=torch.Generator().manual_seed(1))
    found = effect_encoders.activations(sae, STORED.view(3, 5, 2, 8), "blocks.1.attn.hook_z", b_V, FEATURES)
    torch.testing.assert_close(found, by_hand(sae, STORED - b_V[1].flatten()))


@pytest.mark.parametrize("kwargs", [{}, {"center_writing_weights": False}])
def test_an_sae_of_an_uncentred_model_reads_the_stream_as_it_is(sae, kwargs):
    sae.cfg.metadata.model_from_pretrained_kwargs = kwargs
    found = effect_encoders.activations(sae, STORED, "blocks.0.hook_resid_pre", NO_BIAS, FEATURES)
    torch.testing.assert_close(found, by_hand(sae, STORED))
    b_V = torch.ones(2, 2, 8)
    found = effect_encoders.activations(sae, STORED, "blocks.1.attn.hook_z", b_V, FEATURES)
    torch.testing.assert_close(found, by_hand(sae, STORED))


def test_neurons_of_an_mlp_are_not_centred(sae):
    found = effect_encoders.activations(sae, STORED, "blocks.1.mlp.hook_post", NO_BIAS, FEATURES)
    torch.testing.assert_close(found, by_hand(sae, STORED))


def test_a_temporal_sae_reads_whole_contexts(monkeypatch):
    sae = make_sae("temporal")
    with torch.no_grad():
        expected = sae.encode(STORED - STORED.mean(-1, keepdim=True))[..., FEATURES]
    for contexts in (1, 3):
        size = contexts * STORED.shape[1] * effect_encoders.COPIES * 4 * sae.cfg.d_sae
        monkeypatch.setattr(forward, "CPU_BYTES", size)
        found = effect_encoders.activations(sae, STORED, "blocks.0.hook_resid_pre", NO_BIAS, FEATURES)
        torch.testing.assert_close(found, expected)


def test_an_sae_trained_without_a_first_token_is_told_of(tmp_path, caplog):
    make_sae(metadata={"prepend_bos": False}).save_model(tmp_path / "ours")
    effect_encoders.read_encoder(SAESource(folder=str(tmp_path)), "ours")
    assert "SAE ours was trained without a first token" in caplog.text


def test_a_scale_that_the_sae_divides_by_is_multiplied_back(tiny_study, tmp_path):
    import json
    import shutil

    folder = shutil.copytree(tiny_study / "saes" / tiny.SAE_IDS[0], tmp_path / tiny.SAE_IDS[0])
    config = json.loads((folder / "cfg.json").read_text()) | {"normalize_activations": "layer_norm"}
    (folder / "cfg.json").write_text(json.dumps(config))
    sae = effect_encoders.read_encoder(SAESource(folder=str(tmp_path)), tiny.SAE_IDS[0])
    found = effect_encoders.activations(sae, STORED, "blocks.0.hook_resid_pre", NO_BIAS, FEATURES)
    x = STORED - STORED.mean(-1, keepdim=True)
    std = x.std(-1, keepdim=True)
    torch.testing.assert_close(found, by_hand(sae, x / std) * std, rtol=1e-3, atol=1e-4)


def test_a_neuron_is_active_above_zero_and_its_activation_is_what_it_adds(tiny_study):
    hook = "blocks.1.mlp.hook_post"
    model, _, clean, _ = ex.study(tiny_study, hooks=[hook, "blocks.1.hook_mlp_out"])
    stored = clean.hooks[hook]
    every = effect_encoders.of_neurons(stored, torch.arange(stored.shape[-1]))
    assert (stored < 0).any() and (every >= 0).all()
    assert torch.equal(effect_encoders.of_neurons(stored, FEATURES), every[..., FEATURES])
    # All neurons with their activations, and what GELU lets through below 0, are what the MLP writes.
    below = stored.clamp(min=0) - stored
    assert below.max() < 0.18
    written = (every - below) @ model.W_out[1] + model.b_out[1]
    torch.testing.assert_close(written, clean.hooks["blocks.1.hook_mlp_out"])


def test_activations_depend_on_no_batch(sae, monkeypatch):
    given = (sae, STORED, "blocks.0.hook_resid_pre", NO_BIAS, FEATURES)
    together, sizes, encode = effect_encoders.activations(*given), [], sae.encode
    monkeypatch.setattr(sae, "encode", lambda x: (sizes.append(len(x)), encode(x))[1])
    monkeypatch.setattr(forward, "CPU_BYTES", 2 * effect_encoders.COPIES * 4 * tiny.D_SAE)
    torch.testing.assert_close(effect_encoders.activations(*given), together)
    assert sizes == [2] * 7 + [1]


def of_architecture(name, folder, hooks, **settings):
    """A tiny model, and what it holds at hooks."""
    architectures.write(name, folder, **settings)
    model = reading.read_model(ModelSource(folder=str(folder)))
    caught = [*hooks, *effect_encoders.gates(model.bridge, hooks)]
    return model, forward.run_clean(model.bridge, ex.TOKENS, [], caught, "cpu", attention=False).hooks


def test_no_other_norm_than_a_layer_norm_is_centred_for(sae):
    given = (sae, STORED, "blocks.0.hook_resid_pre", None, FEATURES)
    for norm in ("RMSNorm", "none"):
        torch.testing.assert_close(effect_encoders.activations(*given, norm=norm), by_hand(sae, STORED))


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_a_gated_neuron_is_active_where_its_gate_is_open(name, tmp_path):
    hook = "blocks.1.mlp.hook_post"
    model, stored = of_architecture(name, tmp_path / name, [hook, "blocks.1.hook_mlp_out"])
    gate = stored[effect_encoders.gate_of(hook)]
    every = effect_encoders.of_neurons(stored[hook], torch.arange(gate.shape[-1]), gate)
    assert (every < 0).any() and (every > 0).any() and ((every != 0) == (gate > 0)).all()
    assert torch.equal(effect_encoders.of_neurons(stored[hook], FEATURES, gate), every[..., FEATURES])
    # All of them, open or not, are what the MLP writes; neurons of other models have no gate.
    torch.testing.assert_close(stored[hook] @ model.bridge.W_out[1], stored["blocks.1.hook_mlp_out"])


def test_models_without_gates_have_none(tmp_path):
    architectures.write("gpt_neox", tmp_path / "one")
    bridge = reading.read_model(ModelSource(folder=str(tmp_path / "one"))).bridge
    assert effect_encoders.gates(bridge, ["blocks.0.mlp.hook_post"]) == []


def test_heads_that_share_their_values_share_the_bias(tmp_path):
    """What a head of the raw model holds, less its bias, is the pattern times the values without bias."""
    hook = "blocks.0.attn.hook_z"
    model, stored = of_architecture(
        "qwen2", tmp_path / "qwen2", [hook, "blocks.0.attn.hook_pattern"], num_key_value_heads=1
    )
    b_V = effect_encoders.value_biases(model.bridge, [hook])
    assert b_V.shape == (2, 2, 8) and torch.equal(b_V[:, 0], b_V[:, 1]) and b_V.any()
    assert effect_encoders.value_biases(model.bridge, ["blocks.0.hook_resid_pre"]) is None
    without = model.bridge.original_model.model.layers[0].self_attn.v_proj
    without = getattr(without, "original_component", without)
    with torch.no_grad():
        without.bias.zero_()
    again = forward.run_clean(model.bridge, ex.TOKENS, [], [hook], "cpu", attention=False).hooks[hook]
    flat = (stored[hook] - b_V[0]).flatten(2)
    torch.testing.assert_close(flat, again.flatten(2), rtol=1e-4, atol=1e-5)


def test_a_model_without_value_biases_has_none(tmp_path):
    architectures.write("llama", tmp_path / "llama")
    bridge = reading.read_model(ModelSource(folder=str(tmp_path / "llama"))).bridge
    assert effect_encoders.value_biases(bridge, ["blocks.0.attn.hook_z"]) is None
