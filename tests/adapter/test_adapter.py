"""SAEAdapter: what it computes, against the formulas by hand, and that a fresh one changes nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl import SAEAdapter
from fsrl.adapter.layers import FUSION_MODES
from fsrl.errors import FsrlError
from tests.fixtures import adapter_examples as examples
from tests.fixtures.adapter_examples import D_IN, D_SAE, activations, make_sae, train

LAYERS = ({"use_lora_adapter": False}, {"use_lora_adapter": True, "lora_rank": 3, "lora_alpha": 12})


@pytest.mark.parametrize("architecture", [*examples.ARCHITECTURES, "abstopk", "matching_pursuit"])
@pytest.mark.parametrize("normalization", examples.NORMALIZATIONS)
@pytest.mark.parametrize("fusion", FUSION_MODES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_fresh_adapter_gives_back_its_input_bit_for_bit(architecture, normalization, fusion, layer):
    special = {"topk": {"rescale_acts_by_decoder_norm": True}, "abstopk": {"k": examples.K}}
    sae = make_sae(architecture, normalize_activations=normalization, **special.get(architecture, {}))
    adapter = SAEAdapter(sae, fusion_mode=fusion, **layer)
    x = activations(2, 5)
    assert torch.equal(adapter(x), x)
    # Without the error term it is the SAE's own reconstruction, which is something else.
    bare = SAEAdapter(sae, fusion_mode=fusion, use_error_term=False, **layer)
    assert torch.equal(bare(x), sae.decode(sae.encode(x))) and not torch.allclose(bare(x), x, atol=0.1)


@pytest.mark.parametrize("architecture", examples.ARCHITECTURES)
@pytest.mark.parametrize("normalization", examples.NORMALIZATIONS)
@pytest.mark.parametrize("subtract_bias", [True, False])
@pytest.mark.parametrize("fusion", FUSION_MODES)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("error_term", [True, False])
def test_a_trained_adapter_computes_the_formula(
    architecture, normalization, subtract_bias, fusion, layer, error_term
):
    special = {"rescale_acts_by_decoder_norm": subtract_bias} if architecture == "topk" else {}
    sae = make_sae(
        architecture, normalize_activations=normalization, apply_b_dec_to_input=subtract_bias, **special
    ).to(torch.float64)
    adapter = train(SAEAdapter(sae, fusion_mode=fusion, use_error_term=error_term, **layer))
    x = activations(50).double()
    expected = torch.from_numpy(examples.by_hand(adapter, x))
    assert (expected - x).abs().max() > 0.5
    torch.testing.assert_close(adapter(x).detach(), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("normalization", [*examples.NORMALIZATIONS, "covariance_whitening"])
def test_the_input_s_scale_is_kept_for_the_second_decode_and_nothing_else(normalization):
    sae = make_sae(normalize_activations=normalization)
    adapter, x, seen = train(SAEAdapter(sae)), activations(4), []
    expected, before = adapter(x), set(vars(sae))
    decode = sae.decode

    def counting(features):
        sae.decoded = getattr(sae, "decoded", 0) + 1
        seen.append(set(vars(sae)))
        return decode(features)

    sae.decode = counting
    assert torch.equal(adapter(x), expected) and sae.decoded == 2  # what decode sets is not rolled back
    scale = {"layer_norm": {"ln_mu", "ln_std"}, "constant_norm_rescale": {"x_norm_coeff"}}
    assert seen[0] == seen[1] == before | {"decode", "decoded"} | scale.get(normalization, set())
    assert set(vars(sae)) == before | {"decode", "decoded"}


def test_lora_is_the_product_of_its_factors_and_holds_nothing_else():
    lora = {"use_lora_adapter": True, "lora_rank": 3, "lora_alpha": 12}
    adapter = train(SAEAdapter(make_sae(), **lora))
    held = [*adapter.layer.parameters(), *adapter.layer.buffers()]
    assert sum(tensor.numel() for tensor in held) == 3 * (D_IN + D_SAE)
    matrix = 12 / 3 * adapter.layer.B @ adapter.layer.A
    x = activations(7)
    torch.testing.assert_close(adapter.get_steering_vector(x), x @ matrix.T, atol=1e-5, rtol=1e-5)


def test_lora_starts_at_zero_and_can_leave_it():
    adapter = SAEAdapter(make_sae(), use_lora_adapter=True, lora_rank=4)
    assert not adapter.layer.B.any() and adapter.layer.A.any()
    optimizer = torch.optim.SGD(adapter.get_trainable_parameters(), lr=0.1)
    adapter(activations(3)).pow(2).sum().backward()
    optimizer.step()
    assert adapter.layer.B.any()


@settings(deadline=None, max_examples=25)
@given(
    shape=st.lists(st.integers(1, 3), max_size=3),
    size=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**20),
    architecture=st.sampled_from(examples.ARCHITECTURES),
)
def test_additive_steering_adds_decoder_rows_whatever_the_features(shape, size, seed, architecture):
    adapter = train(SAEAdapter(make_sae(architecture).to(torch.float64)), seed)
    x = activations(*shape, seed=seed).double() * size
    steering = adapter.get_steering_vector(x)
    assert steering.shape == (*shape, D_SAE)
    torch.testing.assert_close(adapter(x) - x, steering @ adapter.W_dec, atol=1e-9 * size, rtol=1e-8)


def test_hook_points_run_in_order_with_their_shapes():
    adapter, seen = train(SAEAdapter(make_sae())), []
    names = ("hook_input", "hook_features", "hook_steering_vector", "hook_fusion", "hook_output")
    for name in names:
        getattr(adapter, name).add_hook(lambda value, hook, name=name: seen.append((name, value)))
    x = activations(2, 3)
    out = adapter(x)
    assert [name for name, _ in seen] == list(names)
    seen = dict(seen)
    assert seen["hook_input"] is x and seen["hook_output"] is out
    features, steering = seen["hook_features"], seen["hook_steering_vector"]
    assert torch.equal(features, adapter.sae.encode(x))
    assert torch.equal(steering, adapter.get_steering_vector(x))
    assert torch.equal(seen["hook_fusion"], features + steering)


def test_a_feature_removed_at_its_hook_is_removed_and_not_put_back_as_error():
    adapter, x = SAEAdapter(make_sae()), activations(6)
    feature = int(adapter.sae.encode(x).mean(0).argmax())

    def remove(features, hook):
        features = features.clone()
        features[..., feature] = 0
        return features

    adapter.hook_features.add_hook(remove)
    expected = x - adapter.sae.encode(x)[:, feature, None] * adapter.W_dec[feature]
    assert (expected - x).abs().max() > 1
    torch.testing.assert_close(adapter(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("heads", [(4, 4), (2, 8)])
def test_hook_z_takes_heads_or_their_concatenation(heads):
    sae = make_sae(hook="blocks.1.attn.hook_z", reshape_activations="hook_z")
    adapter, x = train(SAEAdapter(sae)), activations(2, 5)
    flat = adapter(x)
    by_heads = adapter(x.unflatten(-1, heads))
    assert by_heads.shape == (2, 5, *heads) and torch.equal(by_heads.flatten(-2), flat)
    assert torch.equal(adapter.get_steering_vector(x.unflatten(-1, heads)), adapter.get_steering_vector(x))


def test_gradients_reach_the_adapter_alone():
    adapter = train(SAEAdapter(make_sae()))
    adapter(activations(4)).pow(2).sum().backward()
    assert all(parameter.grad is None for parameter in adapter.sae.parameters())
    assert all(parameter.grad.any() for parameter in adapter.get_trainable_parameters())
    wanted = [name for name, parameter in adapter.named_parameters() if parameter.requires_grad]
    assert wanted == ["layer.weight", "layer.bias"]


def test_gradients_through_a_fresh_adapter_are_those_without_it():
    adapter = SAEAdapter(make_sae(normalize_activations="layer_norm"), fusion_mode="multiplicative")
    x = activations(4).requires_grad_()
    weights = activations(4, seed=5)
    (adapter(x) * weights).sum().backward()
    torch.testing.assert_close(x.grad, weights, atol=1e-5, rtol=1e-5)


def test_the_gradient_at_a_feature_is_along_its_decoder_row():
    """The reconstruction error holds the same features, and must not cancel it."""
    adapter, found = SAEAdapter(make_sae()), []

    def keep(features, hook):
        features.retain_grad()
        found.append(features)

    adapter.hook_features.add_hook(keep)
    weights = activations(4, seed=5)
    (adapter(activations(4).requires_grad_()) * weights).sum().backward()
    torch.testing.assert_close(found[0].grad, weights @ adapter.W_dec.T, atol=1e-5, rtol=1e-5)


def test_the_sae_stays_frozen_and_in_eval_mode():
    adapter = SAEAdapter(make_sae())
    assert adapter.train() is adapter and adapter.training and adapter.layer.training
    assert not any(module.training for module in adapter.sae.modules())
    assert not any(parameter.requires_grad for parameter in adapter.sae.parameters())
    assert not adapter.eval().layer.training


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layer", LAYERS)
def test_it_moves_to_another_dtype_as_a_whole(dtype, layer):
    sae = make_sae(normalize_activations="layer_norm")
    adapter = train(SAEAdapter(sae, **layer)).to(dtype)
    assert {parameter.dtype for parameter in adapter.parameters()} == {dtype}
    assert sae.dtype == dtype and sae.cfg.dtype == str(dtype).removeprefix("torch.")
    x = activations(4).to(dtype)
    out = adapter(x)
    assert out.dtype == dtype and (out - x).abs().max() > 0.1
    mixed = adapter(x.float())  # the SAE rounds, the model's own dtype stays
    assert mixed.dtype == torch.float32


def test_a_model_in_lower_precision_gets_its_own_dtype_back():
    adapter, x = SAEAdapter(make_sae()), activations(4).to(torch.bfloat16)
    assert torch.equal(adapter(x), x) and adapter(x).dtype == torch.bfloat16


@pytest.mark.parametrize("device", ["meta", torch.device("meta")])
def test_it_moves_to_another_device_as_a_whole(device):
    adapter = SAEAdapter(make_sae()).to(device)
    assert {parameter.device.type for parameter in adapter.parameters()} == {"meta"}
    assert adapter.sae.device.type == adapter.sae.cfg.device == "meta"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"lora_rnak": 4}, "unknown setting 'lora_rnak'; did you mean 'lora_rank'.*known: use_lora_adapter"),
        ({"rank": 4}, "unknown setting 'rank'; did you mean 'lora_rank'"),
        ({"quux": 4}, r"unknown setting 'quux' \(known"),
        ({"lora_rank": 0}, "lora_rank is 0"),
        ({"lora_rank": -3}, "lora_rank is -3"),
        ({"lora_rank": 4.0}, r"lora_rank is 4\.0"),
        ({"lora_rank": True}, "lora_rank is True"),
        ({"lora_alpha": 0}, "lora_alpha is 0"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"lora_alpha": "32"}, "lora_alpha is '32'"),
        ({"fusion_mode": "aditive"}, "fusion_mode is 'aditive'; did you mean 'additive'.*multiplicative"),
        ({"fusion_mode": None}, "fusion_mode is None"),
        ({"use_lora_adapter": 1}, "use_lora_adapter is 1"),
        ({"use_error_term": "yes"}, "use_error_term is 'yes'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(setting, message):
    with pytest.raises(FsrlError, match=message):
        SAEAdapter(make_sae(), **setting)
    # and before anything is looked for, let alone fetched
    with pytest.raises(FsrlError, match=message):
        SAEAdapter.from_pretrained("no-such-release", "no-such-sae", **setting)


def test_an_activation_of_another_width_is_refused():
    with pytest.raises(FsrlError, match=r"shape \[2, 15\], expected \[\.\.\., 16\]"):
        SAEAdapter(make_sae())(torch.zeros(2, 15))


def test_what_does_not_reconstruct_what_it_reads_is_refused():
    with pytest.raises(FsrlError, match="Linear is no SAELens SAE"):
        SAEAdapter(torch.nn.Linear(2, 2))
    elsewhere = make_sae(metadata={"hook_name_out": "blocks.1.hook_mlp_out"})
    with pytest.raises(FsrlError, match="reads blocks.1.hook_resid_pre and writes blocks.1.hook_mlp_out"):
        SAEAdapter(elsewhere)
    transcoder = make_sae("transcoder", d_out=D_IN, apply_b_dec_to_input=False)
    with pytest.raises(FsrlError, match="transcoder"):
        SAEAdapter(transcoder)
    temporal = make_sae("temporal", n_heads=2, bottleneck_factor=2)
    with pytest.raises(FsrlError, match="temporal"):
        SAEAdapter(temporal)
