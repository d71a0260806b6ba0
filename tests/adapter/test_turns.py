"""Several users of one model: threads, HookedModels within each other, hooks that call the model."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fsrl import HookedModel, SAEAdapter
from fsrl.adapter import turns
from fsrl.errors import FsrlError
from tests.fixtures import model_examples
from tests.fixtures.adapter_examples import make_sae, train
from tests.fixtures.model_examples import TOKENS

HOOK = "blocks.1.hook_resid_pre"
FEATURES = "sae_adapter.hook_features"
PLACES = (HOOK, "blocks.0.hook_resid_mid", "hook_embed")
SECONDS = 60  # what would wait for ever fails instead


def spliced(model, seed=2, hook=HOOK, **settings):
    return HookedModel(model, train(SAEAdapter(make_sae(hook=hook, **settings)), seed))


def together(*calls):
    """What the calls return, each in a thread of its own, all begun at once."""
    start = threading.Barrier(len(calls))

    def run(call):
        start.wait(SECONDS)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(SECONDS) for future in [pool.submit(run, call) for call in calls]]


@pytest.mark.parametrize("place", PLACES)
def test_threads_through_one_model_each_get_their_own_output(model, place):
    """Every way to call it, at once: nothing is lost, doubled, or seen by another thread's hooks."""
    # layer_norm keeps the input's scale on the SAE, where threads would mix it up.
    first = spliced(model, 2, place, normalize_activations="layer_norm")
    second = spliced(model, 3, place)
    rows, plain = TOKENS[:1], model(TOKENS[:1])
    expected = [first(rows), second(rows), plain]
    assert min((a - b).abs().max() for a, b in zip(expected, expected[1:], strict=False)) > 1e-3

    def repeated(call, wanted):
        return all(torch.equal(call(), wanted) for _ in range(12))

    def hooked():
        seen = []
        with first.hooks(fwd_hooks=[(FEATURES, lambda x, hook: seen.append(x))]):
            out = first(rows)
        assert len(seen) == 1
        return out

    def switched_off():
        with first.disabled():
            return first(rows)

    done = together(
        lambda: repeated(lambda: first(rows), expected[0]),
        lambda: repeated(lambda: second(rows), expected[1]),
        lambda: repeated(lambda: second.run_with_cache(rows)[0], expected[1]),
        lambda: repeated(hooked, expected[0]),
        lambda: repeated(switched_off, plain),
        lambda: repeated(lambda: model(rows), plain),
    )
    assert done == [True] * 6


def test_a_block_that_waits_for_a_thread_that_waits_for_it_is_an_error(model, monkeypatch):
    monkeypatch.setattr(turns, "WAIT", 0.05)
    sae_model = spliced(model)
    with sae_model.hooks():
        with pytest.raises(FsrlError, match="another thread has been in hooks"):
            together(lambda: sae_model(TOKENS))
        sae_model(TOKENS)
    assert torch.equal(*together(lambda: sae_model(TOKENS), lambda: sae_model(TOKENS)))


def test_many_short_blocks_are_waited_for(model, monkeypatch):
    monkeypatch.setattr(turns, "WAIT", 0.2)
    sae_model = spliced(model)

    def short_blocks():
        for _ in range(4):
            with sae_model.hooks():
                threading.Event().wait(0.12)

    together(*[short_blocks] * 3)


def test_a_long_call_is_waited_for(model, monkeypatch):
    monkeypatch.setattr(turns, "WAIT", 0.01)
    sae_model, begun = spliced(model), threading.Event()
    expected = sae_model(TOKENS)

    def slow(x, hook):
        begun.set()
        threading.Event().wait(0.2)

    def after():
        begun.wait(SECONDS)
        return sae_model(TOKENS)

    def long():
        return sae_model.run_with_hooks(TOKENS, fwd_hooks=[(HOOK, slow)])

    assert all(torch.equal(out, expected) for out in together(long, after))


def test_the_lock_goes_with_the_model(tiny_study):
    model = model_examples.transformer(tiny_study / "model")
    kept = len(turns._TURNS)
    spliced(model)(TOKENS)
    assert len(turns._TURNS) == kept + 1
    del model
    assert len(turns._TURNS) == kept


@pytest.mark.parametrize("place", PLACES)
def test_of_two_on_one_model_the_innermost_alone_steers(model, place):
    outer, inner = spliced(model, 2, place), spliced(model, 3, place)
    own = {outer: outer(TOKENS), inner: inner(TOKENS)}
    with outer.hooks():
        assert torch.equal(inner(TOKENS), own[inner])
        assert torch.equal(outer(TOKENS), own[outer]) and torch.equal(model(TOKENS), own[outer])
        with inner.hooks():
            assert torch.equal(outer(TOKENS), own[outer])
            assert torch.equal(model(TOKENS), own[inner])
        with inner.disabled():
            assert torch.equal(inner(TOKENS), model(TOKENS))
            assert not torch.equal(model(TOKENS), own[outer])
        assert torch.equal(outer(TOKENS), own[outer])


def test_hooks_of_an_outer_block_stay_while_another_model_is_used_in_it(model):
    outer, inner = spliced(model, 2), spliced(model, 3)
    direction = torch.ones(16)

    def add(x, hook):
        return x + direction

    seen = []
    with outer.hooks(fwd_hooks=[(HOOK, add), (FEATURES, lambda x, hook: seen.append(hook.name))]):
        by_outer, out = outer(TOKENS), inner(TOKENS)
        _, cache = inner.run_with_cache(TOKENS)
        assert torch.equal(outer(TOKENS), by_outer)
        # The name is the outer one's again, in the model and for hooks that come later.
        later = []
        outer.run_with_hooks(TOKENS, fwd_hooks=[(FEATURES, lambda x, hook: later.append(x))])
    assert torch.equal(out, inner.run_with_hooks(TOKENS, fwd_hooks=[(HOOK, add)]))
    assert torch.equal(cache[FEATURES], inner.sae_adapter.encode(cache["sae_adapter.hook_input"]))
    assert seen == [FEATURES] * 3 and len(later) == 1
    assert not outer.sae_adapter.hook_features.fwd_hooks and not model.hook_dict[HOOK].fwd_hooks


def test_two_models_with_one_adapter_keep_each_others_hooks(forms):
    adapter = train(SAEAdapter(make_sae()))
    outer, inner = HookedModel(forms["bridge"], adapter), HookedModel(forms["transformer"], adapter)
    seen = []
    with outer.hooks(fwd_hooks=[(FEATURES, lambda x, hook: seen.append(x))]):
        inner(TOKENS)
        outer(TOKENS)
    assert len(seen) == 2


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", [FEATURES, "sae_adapter.hook_output", "blocks.1.hook_resid_pre"])
def test_a_hook_may_call_the_model(model, place, name):
    """The call in the call has its own output and leaves the outer one's alone, whatever the SAE keeps."""
    outer = spliced(model, 2, place, normalize_activations="layer_norm")
    other = spliced(model, 3, place, normalize_activations="layer_norm")
    shorter, found = TOKENS[:, :4], []

    def call(x, hook):
        if not found:
            found.append(None)
            found[:] = [outer(shorter), other(shorter), outer.run_with_cache(shorter)[1][FEATURES]]

    expected = [outer(shorter), other(shorter), outer.run_with_cache(shorter)[1][FEATURES], outer(TOKENS)]
    out = outer.run_with_hooks(TOKENS, fwd_hooks=[(name, call)])
    assert all(torch.equal(a, b) for a, b in zip([*found, out], expected, strict=True))


def test_a_hooked_model_in_a_hooked_model_is_refused(model):
    sae_model = spliced(model)
    with pytest.raises(FsrlError, match=r"a HookedModel already; give its \.model"):
        HookedModel(sae_model, sae_model.sae_adapter)
