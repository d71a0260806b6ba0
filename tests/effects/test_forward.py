"""One position pushed through the later layers, against the model's own hooks, Jacobian and closed form."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import GPT2Config

from fsrl import HookedModel, SAEAdapter
from fsrl.effects import forward
from fsrl.effects.forward import Tail, changes, normalise
from fsrl.errors import FsrlError
from fsrl.hooks import Place, place_of
from tests.fixtures import effect_examples as ex
from tests.fixtures.adapter_examples import make_sae

HOOKS = {
    "blocks.0.hook_resid_pre": 16,
    "blocks.1.hook_resid_pre": 16,
    "blocks.0.hook_resid_mid": 16,
    "blocks.0.hook_resid_post": 16,
    "blocks.1.hook_resid_post": 16,
    "blocks.0.hook_attn_out": 16,
    "blocks.1.hook_attn_out": 16,
    "blocks.0.hook_mlp_out": 16,
    "blocks.0.attn.hook_z": 16,
    "blocks.0.mlp.hook_post": 64,
}
CONTEXTS, POSITIONS = torch.tensor([0, 3, 5, 5]), torch.tensor([1, 11, 6, 7])


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=["float64", "float32"])
def study(tiny_study, request):
    return ex.study(tiny_study, request.param)


@pytest.fixture(scope="module")
def exact(tiny_study):
    return ex.study(tiny_study)


def in_the_stream(model, hook, vector):
    """What a vector at a hook adds to the residual stream."""
    if hook.endswith("hook_z"):
        return vector @ model.W_O[0].detach().reshape(-1, ex.D_MODEL)
    return vector @ model.W_out[0].detach() if hook.endswith("hook_post") else vector


def vectors(width, dtype, n=3):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(4)).to(dtype)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_change_is_that_of_the_models_own_hooks(study, hook):
    model, tail, clean, W_U = study
    at_hook = vectors(HOOKS[hook], W_U.dtype)
    added = torch.stack([in_the_stream(model, hook, vector) for vector in at_hook])
    # A TransformerBridge's hook_resid_mid is the MLP's input alone: what is added there skips the sum.
    modelled = hook.replace("resid_mid", "attn_out")
    found = changes(tail, clean, place_of(hook), CONTEXTS, POSITIONS, added.expand(4, 3, -1)) @ W_U
    for m, (context, position) in enumerate(zip(CONTEXTS.tolist(), POSITIONS.tolist(), strict=True)):
        for s, vector in enumerate(at_hook):
            expected = ex.logits_change(model, context, position, modelled, vector)
            assert expected.abs().max() > 0.01
            # float32: both sides have the rounding of what changes.
            tolerance = 1e-10 if W_U.dtype == torch.float64 else 1e-5 * max(1, expected.abs().max())
            assert (found[m, s] - expected).abs().max() < tolerance


@pytest.mark.parametrize("hook", ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"])
def test_hooked_model_gives_the_same_logits(tiny_study, hook):
    model, tail, clean, W_U = ex.study(tiny_study, torch.float32)
    hooked = HookedModel(model, SAEAdapter(make_sae()))
    vector = vectors(ex.D_MODEL, torch.float32)[0]
    with hooked.disabled():
        expected = ex.logits_change(hooked, 3, 11, hook, vector)
    found = (
        changes(tail, clean, place_of(hook), CONTEXTS[1:2], POSITIONS[1:2], vector[None, None])[0, 0] @ W_U
    )
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_at_the_last_hook_it_is_the_closed_form(exact):
    model, tail, clean, W_U = exact
    added = 3 * vectors(ex.D_MODEL, W_U.dtype)
    found = changes(tail, clean, Place(2, False), CONTEXTS, POSITIONS, added.expand(4, 3, -1)) @ W_U
    x = clean.final[CONTEXTS, POSITIONS]

    def logits(stream):
        weight, bias = model.ln_final.weight, model.ln_final.bias
        return torch.nn.functional.layer_norm(stream, (ex.D_MODEL,), weight, bias, tail.eps) @ model.W_U

    expected = logits(x[:, None] + added) - logits(x)[:, None]
    assert (found - expected).abs().max() < 1e-10


@pytest.mark.parametrize("place", ex.PLACES, ids=str)
def test_small_steps_agree_with_the_jacobian(exact, place):
    _, tail, clean, W_U = exact
    x = clean.residual[place][CONTEXTS, POSITIONS]
    centred = (x - x.mean(-1, keepdim=True)).norm(dim=-1, keepdim=True)
    direction = vectors(ex.D_MODEL, W_U.dtype, 4)
    direction = direction / direction.norm(dim=-1, keepdim=True) * centred

    def logits(stream):
        final = tail.push(stream[:, None], place, clean, CONTEXTS, POSITIONS)[:, 0]
        return normalise(final, tail.eps)[0] @ W_U

    _, jvp = torch.func.jvp(logits, (x,), (direction,))
    for relative in (1e-2, 1e-4, 1e-6):
        both = torch.stack([relative * direction, -relative * direction], dim=1)
        found = changes(tail, clean, place, CONTEXTS, POSITIONS, both) @ W_U / relative
        # The even part, of the order of the step, cancels; each sign alone converges to the product too.
        middle = (found[:, 0] - found[:, 1]) / 2
        assert ((middle - jvp).norm(dim=-1) / jvp.norm(dim=-1)).max() < 1e-3
    assert ((found[:, 0] - jvp).norm(dim=-1) / jvp.norm(dim=-1)).max() < 1e-3


def test_nothing_added_changes_nothing(study):
    _, tail, clean, W_U = study
    nothing = torch.zeros(4, 2, ex.D_MODEL, dtype=W_U.dtype)
    for place in ex.PLACES:
        assert not changes(tail, clean, place, CONTEXTS, POSITIONS, nothing).any()


def test_sites_pushed_together_are_as_pushed_alone(exact):
    _, tail, clean, W_U = exact
    added = vectors(ex.D_MODEL, W_U.dtype).expand(4, 3, -1)
    together = changes(tail, clean, Place(0, False), CONTEXTS, POSITIONS, added)
    alone = [
        changes(tail, clean, Place(0, False), CONTEXTS[i : i + 1], POSITIONS[i : i + 1], added[i : i + 1])
        for i in range(4)
    ]
    assert (together - torch.cat(alone)).abs().max() < 1e-12


def test_a_model_that_computes_something_else_is_refused(exact):
    _, tail, clean, W_U = exact
    other = Tail([replace(tail.blocks[0], b_O=tail.blocks[0].b_O + 1), *tail.blocks[1:]], tail.eps)
    nothing = torch.zeros(4, 1, ex.D_MODEL, dtype=W_U.dtype)
    with pytest.raises(FsrlError, match="this model's blocks compute something else"):
        changes(other, clean, Place(0, False), CONTEXTS, POSITIONS, nothing)
    config = GPT2Config(activation_function="relu")
    with pytest.raises(FsrlError, match="activation_function is 'relu'; these blocks are GPT-2's"):
        Tail.of(SimpleNamespace(original_model=SimpleNamespace(config=config)))


@pytest.mark.parametrize("hook", ["blocks.1.attn.hook_q", "hook_pos_embed", "blocks.1.hook_resid_pre.x"])
def test_a_hook_that_does_not_write_to_the_stream_is_refused(hook):
    with pytest.raises(FsrlError, match="nothing can be added"):
        place_of(hook)


def test_a_hook_that_the_model_lacks_is_named(exact):
    with pytest.raises(FsrlError, match="no blocks.7.hook_resid_pre"):
        forward.run_clean(exact[0], ex.TOKENS, [Place(7, False)], [], "cpu")


def test_a_clean_run_depends_on_no_batch_and_computes_no_logits(exact, monkeypatch):
    model, _, whole, _ = exact
    monkeypatch.setattr(forward, "CPU_BYTES", 1)
    logits = []
    with model.hooks([("unembed.hook_out", lambda found, hook: logits.append(tuple(found.shape)))]):
        single = forward.run_clean(model, ex.TOKENS, ex.PLACES, [], "cpu")
    assert logits == [(1, 1, 300)] * len(ex.TOKENS)
    for ours, theirs in ((single.keys, whole.keys), (single.values, whole.values)):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(single.residual, whole.residual, rtol=1e-12, atol=1e-12)


def test_the_tail_holds_no_copy_of_the_model(exact):
    model, tail, _, _ = exact
    memory = {part.untyped_storage().data_ptr() for part in model.original_model.state_dict().values()}
    for block in tail.blocks:
        assert {
            getattr(block, name).untyped_storage().data_ptr() for name in type(block).__annotations__
        } <= memory
