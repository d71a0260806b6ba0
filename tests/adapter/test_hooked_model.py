"""HookedModel: the adapter in each form of the model, and the model left as it was."""

import pytest
import torch

import fsrl
from fsrl import HookedModel, SAEAdapter
from fsrl.errors import FsrlError
from fsrl.models.reading import load_model
from tests.fixtures import model_examples
from tests.fixtures.adapter_examples import ARCHITECTURES, make_sae, train
from tests.fixtures.model_examples import TOKENS

HOOK = "blocks.1.hook_resid_pre"
# Every place that a release of GPT-2 SAEs reads, and the width there in heads of 8.
PLACES = (
    "hook_embed",
    "blocks.0.hook_resid_pre",
    "blocks.1.hook_resid_pre",
    "blocks.0.hook_resid_mid",
    "blocks.1.hook_resid_mid",
    "blocks.0.hook_attn_out",
    "blocks.1.attn.hook_z",
    "blocks.0.hook_mlp_out",
    "blocks.1.hook_resid_post",
)


@pytest.fixture
def fresh(model):
    return HookedModel(model, SAEAdapter(make_sae()))


@pytest.fixture
def trained(model):
    return HookedModel(model, train(SAEAdapter(make_sae())))


def hooks_on(model):
    return {name: (len(p.fwd_hooks), len(p._forward_hooks)) for name, p in model.hook_dict.items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_fresh_adapter_leaves_the_logits_unchanged(model, architecture):
    plain = model(TOKENS)
    for normalization in ("none", "layer_norm"):
        sae = make_sae(architecture, normalize_activations=normalization)
        spliced = HookedModel(model, SAEAdapter(sae, use_lora_adapter=True, fusion_mode="multiplicative"))
        assert torch.equal(spliced(TOKENS), plain)
        bare = HookedModel(model, SAEAdapter(sae, use_error_term=False))
        assert (bare(TOKENS) - plain).abs().max() > 0.01


def test_a_trained_adapter_does_what_a_hook_by_hand_does(model, trained):
    expected = model.run_with_hooks(TOKENS, fwd_hooks=[(HOOK, lambda x, hook: trained.sae_adapter(x))])
    assert torch.equal(trained(TOKENS), expected)
    assert (expected - model(TOKENS)).abs().max() > 0.1


@pytest.mark.parametrize("place", PLACES)
def test_a_bridge_and_a_transformer_agree_at_every_place(forms, place):
    """In particular at hook_resid_mid, which in a bridge is not the residual stream."""
    reshape = {"reshape_activations": "hook_z"} if place.endswith("hook_z") else {}
    adapter = train(SAEAdapter(make_sae(hook=place, **reshape)))
    found = {name: HookedModel(forms[name], adapter)(TOKENS) for name in ("bridge", "transformer")}
    assert (found["bridge"] - forms["bridge"](TOKENS)).abs().max() > 0.05
    torch.testing.assert_close(*found.values(), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("place", PLACES)
def test_a_fresh_adapter_changes_nothing_at_any_place(forms, place):
    for model in forms.values():
        adapter = SAEAdapter(make_sae(hook=place))
        assert torch.equal(HookedModel(model, adapter)(TOKENS), model(TOKENS))


def test_the_model_is_left_as_it_was(model, trained):
    before, plain = hooks_on(model), model(TOKENS)
    trained(TOKENS)
    trained.run_with_cache(TOKENS)
    trained.run_with_hooks(TOKENS, fwd_hooks=[("sae_adapter.hook_fusion", lambda x, hook: x)])

    def fail(x, hook):
        raise KeyboardInterrupt

    for name in (HOOK, "sae_adapter.hook_features"):
        with pytest.raises(KeyboardInterrupt):
            trained.run_with_hooks(TOKENS, fwd_hooks=[(name, fail)])
    assert hooks_on(model) == before and torch.equal(model(TOKENS), plain)
    assert (trained(TOKENS) - plain).abs().max() > 0.1


def test_hooks_that_were_there_before_stay_and_see_what_comes_out(model, trained):
    seen = []
    point = model.hook_dict[HOOK]
    point.add_hook(lambda x, hook: seen.append(x), is_permanent=True)
    try:
        _, cache = trained.run_with_cache(TOKENS)
        trained(TOKENS)
        model(TOKENS)
    finally:
        point.remove_hooks(including_permanent=True)
    assert torch.equal(seen[0], cache["sae_adapter.hook_output"]) and torch.equal(seen[1], seen[0])
    assert torch.equal(seen[2], cache["sae_adapter.hook_input"])


def test_the_cache_holds_the_adapters_hook_points_beside_the_models(model, trained):
    out, cache = trained.run_with_cache(TOKENS)
    assert torch.equal(out, trained(TOKENS))
    residual, adapter = model.run_with_cache(TOKENS)[1][HOOK], trained.sae_adapter
    assert torch.equal(cache["sae_adapter.hook_input"], residual)
    assert torch.equal(cache["sae_adapter.hook_features"], adapter.sae.encode(residual))
    assert torch.equal(cache["sae_adapter.hook_steering_vector"], adapter.get_steering_vector(residual))
    assert torch.equal(cache["sae_adapter.hook_output"], adapter(residual))
    # At the hook itself is what the model goes on with.
    assert torch.equal(cache[HOOK], cache["sae_adapter.hook_output"])
    assert "blocks.1.hook_resid_post" in cache


@pytest.mark.parametrize(
    "names",
    ["sae_adapter.hook_fusion", ["sae_adapter.hook_fusion"], lambda name: name.endswith("hook_fusion")],
)
def test_the_cache_can_be_narrowed_to_a_hook_point_of_the_adapter(trained, names):
    _, cache = trained.run_with_cache(TOKENS[:1], names_filter=names, remove_batch_dim=True)
    assert list(cache) == ["sae_adapter.hook_fusion"]
    assert cache["sae_adapter.hook_fusion"].shape == (TOKENS.shape[1], 40)


def test_a_hook_on_a_feature_of_the_adapter_reaches_the_logits(model, fresh):
    def add(features, hook):
        assert hook.name == "sae_adapter.hook_features"
        features = features.clone()
        features[..., 5] += 3
        return features

    steered = fresh.run_with_hooks(TOKENS, fwd_hooks=[("sae_adapter.hook_features", add)])
    direction = 3 * fresh.sae_adapter.W_dec[5]
    expected = model.run_with_hooks(TOKENS, fwd_hooks=[(HOOK, lambda x, hook: x + direction)])
    torch.testing.assert_close(steered, expected, atol=2e-5, rtol=1e-5)
    after = fresh.run_with_hooks(TOKENS, fwd_hooks=[(HOOK, lambda x, hook: x + direction)])
    torch.testing.assert_close(after, expected, atol=2e-5, rtol=1e-5)


def test_backward_hooks_see_the_gradient_at_a_feature(trained):
    seen = []
    keep = [("sae_adapter.hook_fusion", lambda gradient, hook: seen.append(gradient[0]))]
    with trained.hooks(bwd_hooks=keep):
        trained(TOKENS, return_type="loss").backward()
    _, cache = trained.run_with_cache(
        TOKENS, names_filter="sae_adapter.hook_fusion", incl_bwd=True, return_type="loss"
    )
    gradient = cache["sae_adapter.hook_fusion_grad"]
    assert gradient.any() and gradient.shape == (*TOKENS.shape, 40)
    assert torch.equal(seen[0].reshape(-1), gradient.reshape(-1)[: seen[0].numel()])


def test_hooks_left_on_purpose_are_taken_off_by_reset_hooks(trained):
    name, seen = "sae_adapter.hook_features", []
    trained.run_with_hooks(TOKENS, fwd_hooks=[(name, lambda x, hook: seen.append(x))], reset_hooks_end=False)
    trained(TOKENS)
    assert len(seen) == 2
    trained.reset_hooks()
    trained(TOKENS)
    assert len(seen) == 2


def test_the_adapter_itself_is_not_a_hook_that_reset_hooks_takes_off(model, trained):
    expected = trained(TOKENS)
    with trained.hooks():
        model.reset_hooks()
        assert torch.equal(trained(TOKENS), expected)
    assert not torch.equal(model(TOKENS), expected)


def test_switched_off_it_is_the_plain_model(model, trained):
    plain, cached = model(TOKENS), "blocks.0.hook_resid_post"
    with trained.disabled() as same:
        assert same is trained and torch.equal(trained(TOKENS), plain)
        with trained.disabled():
            assert torch.equal(trained(TOKENS), plain)
        out, cache = trained.run_with_cache(TOKENS)
        assert torch.equal(out, plain) and cached in cache
        assert not [name for name in cache if name.startswith("sae_adapter")]
        with pytest.raises(FsrlError, match="unknown hook 'sae_adapter.hook_fusion'"):
            trained.run_with_cache(TOKENS, names_filter="sae_adapter.hook_fusion")
    assert (trained(TOKENS) - plain).abs().max() > 0.1
    with trained.hooks(), trained.disabled():
        assert torch.equal(trained(TOKENS), plain)


def test_it_is_on_again_after_an_error(model, trained):
    with pytest.raises(KeyboardInterrupt), trained.disabled():
        raise KeyboardInterrupt
    assert (trained(TOKENS) - model(TOKENS)).abs().max() > 0.1


@pytest.mark.parametrize("place", [HOOK, "hook_embed", "blocks.0.hook_resid_mid"])
def test_generation_is_the_same_with_and_without_a_key_value_cache(model, place):
    trained = HookedModel(model, train(SAEAdapter(make_sae(hook=place))))

    def generate(spliced, cache):
        torch.manual_seed(0)
        settings = {"max_new_tokens": 12, "do_sample": False, "verbose": False, "stop_at_eos": False}
        return spliced.generate(TOKENS[:1, :4], use_past_kv_cache=cache, **settings)

    with_cache = generate(trained, True)
    assert torch.equal(with_cache, generate(trained, False))
    # and is what the logits of each prefix say
    tokens = TOKENS[:1, :4]
    for _ in range(12):
        tokens = torch.cat([tokens, trained(tokens)[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(with_cache, tokens)
    assert not torch.equal(with_cache, generate(model, True))


def test_gradients_reach_the_adapter_alone(model, trained):
    trained.zero_grad()
    trained(TOKENS, return_type="loss").backward()
    with_gradient = {name for name, parameter in trained.named_parameters() if parameter.grad is not None}
    assert with_gradient == {"sae_adapter.layer.weight", "sae_adapter.layer.bias"}
    assert all(parameter.grad is None for parameter in model.parameters())
    trainable = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    assert [id(p) for p in trainable] == [id(p) for p in trained.sae_adapter.get_trainable_parameters()]


def test_training_lowers_the_loss(tiny_study):
    model = HookedModel(
        model_examples.bridge(tiny_study / "model"),
        SAEAdapter(make_sae(), use_lora_adapter=True, lora_rank=4, lora_alpha=4),
    )
    optimizer = torch.optim.Adam(model.sae_adapter.get_trainable_parameters(), lr=0.01)
    losses = []
    for _ in range(15):
        loss = model.train()(TOKENS, return_type="loss")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


def test_model_and_sae_stay_in_eval_mode(trained):
    """The model's dropout is 0.1: two passes in training mode would differ."""
    assert trained.train() is trained and trained.sae_adapter.layer.training
    assert torch.equal(trained(TOKENS), trained(TOKENS))
    assert not trained.model.training and not trained.sae_adapter.sae.training


@pytest.mark.parametrize("form", model_examples.FORMS)
def test_it_moves_as_a_whole(tiny_study, form):
    model = HookedModel(model_examples.FORMS[form](tiny_study / "model"), train(SAEAdapter(make_sae())))
    before = model(TOKENS)
    assert model.to("cpu", torch.float64) is model and model.cpu() is model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert model.model.cfg.dtype == torch.float64 == model.sae_adapter.sae.dtype
    torch.testing.assert_close(model(TOKENS).float(), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("place", ["", "model"])
def test_load_model_gives_the_processed_model_of_a_study_or_a_folder(tiny_study, forms, place):
    model = load_model(tiny_study / place)
    assert torch.equal(model(TOKENS), forms["bridge"](TOKENS))
    assert model.cfg.model_name == str(tiny_study / "model")
    assert torch.equal(HookedModel(model, SAEAdapter(make_sae()))(TOKENS), model(TOKENS))


def test_load_model_names_what_is_missing(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(FsrlError, match="model/config.json is missing"):
        load_model(tmp_path)


def test_the_names_of_the_notebook_api_are_at_the_top():
    from fsrl.adapter import adapter as sae_adapter
    from fsrl.adapter import hooked_model

    assert fsrl.HookedModel is hooked_model.HookedModel and fsrl.SAEAdapter is sae_adapter.SAEAdapter
    assert {"HookedModel", "SAEAdapter"} <= set(dir(fsrl))
    with pytest.raises(AttributeError, match="no attribute 'SAEAdaptor'"):
        _ = fsrl.SAEAdaptor
