"""Any model's own forward pass from a place to the end, against transformers' own logits and the tail."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from fsrl.effects import forward
from fsrl.effects.forward import changes
from fsrl.effects.own_pass import OwnPass
from fsrl.errors import FsrlError
from fsrl.hooks import Place, place_of
from fsrl.models import export, reading
from fsrl.models.sources import ModelSource
from tests.fixtures import architectures
from tests.fixtures import effect_examples as ex

N, D_MODEL = architectures.N_LAYERS, architectures.D_MODEL
# Some with what a cache could get wrong: windows shorter than the text, keys and values that heads share.
MODELS = {
    "gpt2": {},
    "gpt_neox": {},
    "gptj": {},
    "opt": {},
    "llama": {"num_key_value_heads": 1},
    "mistral": {"sliding_window": 5},
    "qwen2": {},
    "gemma2": {"sliding_window": 5, "num_key_value_heads": 1},
    "gpt_neo": {"window_size": 5},
    "phi": {},
    "qwen3": {},
    "qwen3_moe": {},
    "gemma": {},
    "gemma3": {"sliding_window": 5},
    "granite": {},
    "nemotron": {},
    "olmo": {},
    "olmo2": {},
}
PLACES = [Place(0, False), Place(1, False), Place(N, False)]
TOKENS = ex.TOKENS
CONTEXTS, POSITIONS = torch.tensor([0, 3, 5, 5]), torch.tensor([1, 11, 6, 7])
VECTORS = torch.randn(3, D_MODEL, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module", params=MODELS)
def case(request, tmp_path_factory):
    name = request.param
    folder = tmp_path_factory.mktemp("models") / name
    own = architectures.write(name, folder, **MODELS[name])
    model = reading.read_model(ModelSource(folder=str(folder)))
    return name, own.eval(), model, clean_run(model, PLACES)


def clean_run(model, places, hooks=()):
    return forward.run_clean(model.bridge, TOKENS, places, hooks, "cpu", attention=False)


def rest_of(model, clean):
    return OwnPass.of(model.bridge, TOKENS, model.head.norm, clean)


def folded(model):
    head = model.head
    return export.fold(model.W_U, head.gain, head.norm, head.scale)


@torch.no_grad()
def own_logits(own, place, context, position, vector=None):
    """transformers' logits of a position, with a vector added before a block or the final norm."""

    def add(module, given):
        changed = given[0].clone()
        changed[:, position] += vector
        return changed, *given[1:]

    handles = []
    if vector is not None:
        module = architectures.final_norm(own) if place.layer == N else architectures.blocks(own)[place.layer]
        handles = [module.register_forward_pre_hook(add)]
    logits = own(TOKENS[context : context + 1]).logits[0, position]
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize("cached", [True, False], ids=["from a cache", "whole windows"])
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_the_change_is_that_of_transformers_own_logits(case, place, cached):
    _, own, model, clean = case
    rest = rest_of(model, clean)
    assert rest.cached
    rest = replace(rest, cached=cached)
    W_U, cap = folded(model), model.head.cap
    found = changes(rest, clean, place, CONTEXTS, POSITIONS, VECTORS.expand(4, -1, -1)) @ W_U
    for m, (context, position) in enumerate(zip(CONTEXTS.tolist(), POSITIONS.tolist(), strict=True)):
        before = own_logits(own, place, context, position)[: W_U.shape[1]]
        for s, vector in enumerate(VECTORS):
            after = own_logits(own, place, context, position, vector)[: W_U.shape[1]]
            # A cap lies after the logits that we speak of: ours are put under it.
            raw = before if cap is None else cap * torch.atanh(before.double() / cap)
            ours = raw + found[m, s]
            ours = ours if cap is None else cap * torch.tanh(ours / cap)
            expected = after - before
            assert expected.abs().max() > 0.01
            tolerance = 1e-5 * max(1, float(expected.abs().max()))
            assert (ours - before - expected).abs().max() < tolerance


def test_what_attention_and_mlp_write_goes_where_it_goes(case):
    """Against TransformerLens' hooks at what they add to the stream, in blocks of either kind."""
    name, _, model, _ = case
    hooks = [f"blocks.{layer}.{point}" for layer in range(N) for point in ("hook_attn_out", "hook_mlp_out")]
    places = {hook: forward.place_in(model.bridge, hook) for hook in hooks}
    assert [place.mid for place in places.values()] == [name not in ("gpt_neox", "gptj", "phi"), False] * N
    clean = clean_run(model, places.values())
    rest = rest_of(model, clean)
    W_U = folded(model)
    for hook, place in places.items():
        assert rest.place(hook) == place
        found = changes(rest, clean, place, CONTEXTS, POSITIONS, VECTORS[:1].expand(4, -1, -1)) @ W_U
        for m, (context, position) in enumerate(zip(CONTEXTS.tolist(), POSITIONS.tolist(), strict=True)):
            with torch.no_grad():
                end = Place(N, False).name(N)
                added = [(hook, partial(ex.add, VECTORS[0], position))]
                ends = [stream_at(model.bridge, end, context, given) for given in ([], added)]
            before, after = (forward.normalise(x[position], rest.eps, rest.norm)[0] for x in ends)
            expected = (after - before) @ W_U
            assert expected.abs().max() > 0.01
            assert (found[m, 0] - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))


def stream_at(bridge, hook, context, given):
    caught = []
    with bridge.hooks(fwd_hooks=[*given, (hook, lambda x, hook: caught.append(x[0]))]):
        bridge(TOKENS[context : context + 1])
    return caught[0]


def test_blocks_that_may_be_parallel_are_told_apart(tmp_path):
    architectures.write("gpt_neox", tmp_path / "one", use_parallel_residual=False)
    model = reading.read_model(ModelSource(folder=str(tmp_path / "one")))
    middle = forward.place_in(model.bridge, "blocks.0.hook_attn_out")
    clean = clean_run(model, [middle])
    rest = rest_of(model, clean)
    found = changes(rest, clean, middle, CONTEXTS[:1], POSITIONS[:1], VECTORS[None, :1])
    end = Place(N, False).name(N)
    with torch.no_grad():
        ends = [
            stream_at(model.bridge, end, 0, given)
            for given in ([], [("blocks.0.hook_attn_out", partial(ex.add, VECTORS[0], 1))])
        ]
    before, after = (forward.normalise(x[1], rest.eps)[0] for x in ends)
    assert (found[0, 0] - (after - before)).abs().max() < 1e-5


def test_it_is_what_the_tail_of_a_gpt2_gives(tiny_study):
    """The fast path against this one, in float64 and at all places, the one between attention and MLP too."""
    model, tail, clean, W_U = ex.study(tiny_study)
    own = OwnPass.of(model, TOKENS, "LayerNorm", clean)
    assert own.cached and own.eps == tail.eps and own.norm == tail.norm
    vectors = VECTORS.double().expand(4, -1, -1)
    for place in ex.PLACES:
        fast = changes(tail, clean, place, CONTEXTS, POSITIONS, vectors) @ W_U
        slow = changes(own, clean, place, CONTEXTS, POSITIONS, vectors) @ W_U
        assert fast.abs().max() > 0.01
        assert (fast - slow).abs().max() < 1e-5 * fast.abs().max()
        assert (fast - slow).abs().max() < 1e-9
    for hook in ("blocks.0.hook_resid_mid", "blocks.1.attn.hook_z", "blocks.1.mlp.hook_post"):
        assert own.place(hook) == tail.place(hook) == place_of(hook)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llama"
    architectures.write("llama", folder)
    model = reading.read_model(ModelSource(folder=str(folder)))
    return model, clean_run(model, PLACES)


def test_a_model_that_a_cache_does_not_repeat_reads_whole_windows(llama, monkeypatch, caplog):
    model, clean = llama
    as_it_is = rest_of(model, clean)
    monkeypatch.setattr(forward, "TOLERANCE", -1.0)
    rest = rest_of(model, clean)
    assert not rest.cached and "its window read anew" in rest.described
    assert "every site's window is read anew, which is slower: from a cache it differs by" in caplog.text
    monkeypatch.setattr(forward, "TOLERANCE", 1e-4)
    given = (PLACES[0], CONTEXTS, POSITIONS, VECTORS.expand(4, -1, -1))
    found, expected = (changes(one, clean, *given[:1], *given[1:]) for one in (rest, as_it_is))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_middle_that_is_something_else_is_refused(llama):
    model, _ = llama
    clean = clean_run(model, [Place(0, True)])
    assert rest_of(model, clean).cached
    with (
        model.bridge.hooks([("blocks.0.hook_resid_mid", lambda x, hook: 2 * x)]),
        pytest.raises(FsrlError, match="blocks.0.hook_resid_mid is not the stream plus blocks.0.hook_attn"),
    ):
        rest_of(model, clean)


def test_another_text_than_the_clean_runs_is_noticed(llama):
    model, clean = llama
    rest = replace(rest_of(model, clean), inputs=TOKENS.flip(1))
    with pytest.raises(FsrlError, match="blocks compute something else"):
        changes(rest, clean, PLACES[0], CONTEXTS, POSITIONS, torch.zeros(4, 1, D_MODEL))
