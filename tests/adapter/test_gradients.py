"""Gradients at hook points of a frozen model: backward hooks fire, and get what autograd by hand gives."""

import pytest
import torch

from fsrl import HookedModel, SAEAdapter
from tests.fixtures.adapter_examples import ARCHITECTURES, activations, make_sae, train
from tests.fixtures.model_examples import TOKENS

HOOK = "blocks.1.hook_resid_pre"
EARLIER = "blocks.0.hook_resid_pre"
FEATURES = "sae_adapter.hook_features"
POINTS = ("hook_input", "hook_features", "hook_steering_vector", "hook_fusion", "hook_output")


def loss_of(logits):
    return logits[:, -1, 40].sum() - logits[:, -1, 77].sum()


def by_hand(model, name, run):
    """The gradient of the loss at a hook point, with a leaf put there and autograd asked."""
    leaves = []

    def begin(x, hook):
        leaves.append(x.detach().requires_grad_())
        return leaves[0]

    run([(name, begin)])
    return leaves[0].grad


def backward(model, points):
    """Gradients that backward hooks see at these hook points."""
    seen = {}

    def keep(gradient, hook):
        seen[hook.name] = gradient[0] if isinstance(gradient, tuple) else gradient

    with model.hooks(bwd_hooks=[(name, keep) for name in points]):
        loss_of(model(TOKENS)).backward()
    return seen


@pytest.mark.parametrize("fusion", ["additive", "multiplicative"])
@pytest.mark.parametrize("trained", [False, True])
def test_backward_hooks_get_the_gradient_at_every_point_of_the_adapter(model, fusion, trained):
    adapter = SAEAdapter(make_sae(), fusion_mode=fusion)
    sae_model = HookedModel(model, train(adapter) if trained else adapter)
    adapter.requires_grad_(False)  # nothing has a gradient but what the hooks ask for
    for name in POINTS:

        def run(hooks):
            loss_of(sae_model.run_with_hooks(TOKENS, fwd_hooks=hooks)).backward()

        expected = by_hand(sae_model, f"sae_adapter.{name}", run)
        found = backward(sae_model, [f"sae_adapter.{name}"])[f"sae_adapter.{name}"]
        assert expected.any() or name == "hook_steering_vector"
        torch.testing.assert_close(found.reshape(expected.shape), expected, atol=1e-6, rtol=1e-4)


def test_attribution_is_gradient_times_activation(model):
    """At a fresh adapter: the gradient at the residual stream along each decoder row, times the feature."""
    sae_model = HookedModel(model, SAEAdapter(make_sae()))
    _, cache = sae_model.run_with_cache(TOKENS, names_filter=FEATURES)
    attribution = backward(sae_model, [FEATURES])[FEATURES] * cache[FEATURES]
    leaf = []

    def begin(x, hook):
        leaf.append(x.detach().requires_grad_())
        return leaf[0]

    loss_of(model.run_with_hooks(TOKENS, fwd_hooks=[(HOOK, begin)])).backward()
    adapter = sae_model.sae_adapter
    expected = leaf[0].grad @ adapter.W_dec.T * adapter.encode(leaf[0])
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(attribution, expected.detach(), atol=1e-5, rtol=1e-4)


def test_backward_hooks_fire_before_the_adapter_too(model):
    sae_model = HookedModel(model, train(SAEAdapter(make_sae())))

    def run(hooks):
        loss_of(sae_model.run_with_hooks(TOKENS, fwd_hooks=hooks)).backward()

    expected = by_hand(sae_model, EARLIER, run)
    (found,) = backward(sae_model, [EARLIER]).values()
    torch.testing.assert_close(found.reshape(expected.shape), expected, atol=1e-6, rtol=1e-4)
    chosen = backward(sae_model, [lambda name: name in (EARLIER, FEATURES)])
    assert len(chosen) == 2 and all(gradient.any() for gradient in chosen.values())
    _, cache = sae_model.run_with_cache(TOKENS, incl_bwd=True, return_type="loss")
    assert cache[f"{FEATURES}_grad"].any() and cache[f"{EARLIER}_grad"].any()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_backward_hook_is_asked_for_nothing_more(model):
    """Without one nothing before the adapter has a gradient; under no_grad nothing has any."""
    sae_model = HookedModel(model, SAEAdapter(make_sae()))
    seen = {}
    keep = [
        (name, lambda x, hook: seen.update({hook.name: x.requires_grad})) for name in ("hook_embed", FEATURES)
    ]
    sae_model.run_with_hooks(TOKENS, fwd_hooks=keep)
    assert not any(seen.values()) and len(seen) == 2
    with torch.no_grad(), sae_model.hooks(fwd_hooks=keep, bwd_hooks=[(FEATURES, lambda x, hook: None)]):
        sae_model(TOKENS)
    assert not any(seen.values())
    points = {id(point): point for point in sae_model.hook_dict.values()}
    own = {id(getattr(sae_model.sae_adapter, name)) for name in POINTS}
    assert not any(point._forward_pre_hooks for key, point in points.items() if key not in own)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_adapter_by_itself_gives_gradients_to_its_backward_hooks(architecture):
    adapter, x, seen = SAEAdapter(make_sae(architecture)), activations(3), []
    adapter.hook_features.add_hook(lambda gradient, hook: seen.append(gradient), dir="bwd")
    weights = activations(3, seed=5)
    (adapter(x) * weights).sum().backward()
    torch.testing.assert_close(seen[0], weights @ adapter.W_dec.T, atol=1e-5, rtol=1e-5)


def test_a_feature_may_be_changed_in_place_by_a_hook(model):
    sae_model = HookedModel(model, SAEAdapter(make_sae()))

    def add(features, hook):
        features[..., 5] += 3

    steered = sae_model.run_with_hooks(TOKENS, fwd_hooks=[(FEATURES, add)])
    direction = 3 * sae_model.sae_adapter.W_dec[5]
    expected = model.run_with_hooks(TOKENS, fwd_hooks=[(HOOK, lambda x, hook: x + direction)])
    torch.testing.assert_close(steered, expected, atol=2e-5, rtol=1e-5)
