"""What people do to live objects: print them, copy them, pickle them, ask them for what they hold."""

import copy
import io
import pickle

import pytest
import torch

from fsrl import HookedModel, SAEAdapter
from fsrl.errors import FsrlError
from tests.fixtures import analyzer_examples
from tests.fixtures import tiny_study as tiny
from tests.fixtures.adapter_examples import (
    ARCHITECTURES,
    D_SAE,
    NORMALIZATIONS,
    K,
    activations,
    make_sae,
    train,
)
from tests.fixtures.model_examples import TOKENS


def saved(adapter):
    stream = io.BytesIO()
    torch.save(adapter, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda adapter: pickle.loads(pickle.dumps(adapter)),
    "torch.save": saved,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "abstopk", "matching_pursuit"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_copy_computes_the_same(how, architecture, normalization):
    special = {"k": K} if architecture == "abstopk" else {}
    sae = make_sae(architecture, normalize_activations=normalization, **special)
    adapter = train(SAEAdapter(sae, use_lora_adapter=True, lora_rank=3, fusion_mode="multiplicative"))
    adapter.log10_density = torch.ones(D_SAE)
    before = torch.get_rng_state()
    made = COPIES[how](adapter)
    assert torch.equal(torch.get_rng_state(), before)
    x = activations(2, 5)
    assert torch.equal(made(x), adapter(x)) and not torch.equal(made(x), x)
    assert torch.equal(made(x), adapter(x))  # in turns, since an SAE holds the scale of its input
    assert torch.equal(made.log10_density, adapter.log10_density)
    assert (made.settings, made.identity, repr(made)) == (adapter.settings, adapter.identity, repr(adapter))
    assert made.cfg.to_dict() == adapter.cfg.to_dict() and made.sae.dtype == torch.float32
    assert made.sae.device == made.device == torch.device("cpu")


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_has_its_own_weights_and_modes(how):
    adapter = train(SAEAdapter(make_sae())).to(torch.float64).eval()
    adapter.layer.bias.requires_grad_(False)
    made, x = COPIES[how](adapter), activations(3).double()
    expected = adapter(x)
    assert {tensor.dtype for tensor in made.state_dict().values()} == {torch.float64}
    assert not made.training and not made.layer.bias.requires_grad and made.layer.weight.requires_grad
    assert not any(parameter.requires_grad for parameter in made.sae.parameters())
    with torch.no_grad():
        made.layer.weight.zero_()
        made.W_dec.zero_()
    made.cfg.metadata.hook_name = "elsewhere"
    assert torch.equal(adapter(x), expected) and adapter.cfg.metadata.hook_name != "elsewhere"
    # and is trained like any other
    made.hook_features.add_hook(lambda gradient, hook: None, dir="bwd")
    made(x).sum().backward()
    assert adapter.layer.weight.grad is None and made.layer.weight.grad is not None


def test_a_pickle_names_no_place_of_this_machine(tiny_study):
    adapter, _, density = SAEAdapter.from_pretrained(tiny_study / "saes", tiny.SAE_IDS[0])
    adapter.identity = SAEAdapter(adapter.sae).identity  # without the folder's name as it was given
    stored = pickle.dumps(adapter)
    assert str(tiny_study).encode() not in stored
    assert torch.equal(pickle.loads(stored).log10_density, density)
    assert copy.deepcopy(adapter).place == adapter.place == (tiny_study / "saes").absolute()


def test_a_hooked_model_is_copied_whole(model):
    sae_model = HookedModel(model, train(SAEAdapter(make_sae())))
    expected = sae_model(TOKENS)
    made = copy.deepcopy(sae_model)
    assert torch.equal(made(TOKENS), expected) and made.model is not model
    train(made.sae_adapter, seed=5)
    assert not torch.equal(made(TOKENS), expected) and torch.equal(sae_model(TOKENS), expected)


def test_a_hooked_model_is_pickled_or_says_what_to_pickle(forms):
    adapter = train(SAEAdapter(make_sae()))
    expected = HookedModel(forms["transformer"], adapter)(TOKENS)
    again = pickle.loads(pickle.dumps(HookedModel(forms["transformer"], adapter)))
    assert torch.equal(again(TOKENS), expected)
    with pytest.raises(FsrlError, match="cannot be pickled; pickle .sae_adapter"):
        pickle.dumps(HookedModel(forms["bridge"], adapter))


def test_they_say_what_they_are_in_a_line(model, tiny_study):
    sae_model = HookedModel(model, SAEAdapter(make_sae(), use_lora_adapter=True))
    for shown in (repr(sae_model), str(sae_model), repr(sae_model.sae_adapter)):
        assert "\n" not in shown and "use_lora_adapter=True" in shown and "blocks.1.hook_resid_pre" in shown
    assert type(model).__name__ in repr(sae_model)
    assert "\n" not in repr(analyzer_examples.analyzer(tiny_study))


def test_a_hooked_model_answers_for_its_model(model):
    sae_model = HookedModel(model, SAEAdapter(make_sae()))
    assert sae_model.cfg is model.cfg and sae_model.tokenizer is model.tokenizer
    tokens = sae_model.to_tokens("the dog")
    assert torch.equal(tokens, model.to_tokens("the dog"))
    assert sae_model.to_string(tokens) == model.to_string(tokens)
    assert sae_model.to_str_tokens("the dog") == model.to_str_tokens("the dog")
    for name in ("W_U", "W_E", "W_O", "W_in", "b_U"):
        assert torch.equal(getattr(sae_model, name), getattr(model, name)) and name in dir(sae_model)
    assert sae_model.device == torch.device("cpu")
    assert torch.equal(sae_model("the dog"), sae_model(tokens))


def test_what_would_run_the_model_without_the_adapter_is_not_handed_on(model):
    sae_model = HookedModel(model, SAEAdapter(make_sae()))
    for name in ("generate_stream", "add_hook"):
        with pytest.raises(
            AttributeError, match=rf"no '{name}'; the model, without the adapter.*\.model\.{name}"
        ):
            getattr(sae_model, name)
        assert not hasattr(sae_model, name)
    with pytest.raises(AttributeError, match="no attribute 'to_toknes'"):
        _ = sae_model.to_toknes


def test_an_adapter_answers_for_its_sae():
    sae = make_sae("jumprelu")
    adapter, x = train(SAEAdapter(sae)), activations(2, 3)
    features = adapter.encode(x)
    assert torch.equal(features, sae.encode(x)) and torch.equal(
        adapter.decode(features), sae.decode(features)
    )
    assert adapter.cfg is sae.cfg and adapter.device == torch.device("cpu") and adapter.dtype == torch.float32
    assert adapter.W_dec is sae.W_dec and adapter.W_enc is sae.W_enc and adapter.b_dec is sae.b_dec
    heads = SAEAdapter(make_sae(hook="blocks.1.attn.hook_z", reshape_activations="hook_z"))
    assert torch.equal(heads.encode(x.unflatten(-1, (2, 8))), heads.encode(x))


def test_a_shallow_copy_shares_model_and_adapter(model):
    adapter = train(SAEAdapter(make_sae(d_in=tiny.D_MODEL)))
    spliced = HookedModel(model, adapter)
    made = copy.copy(spliced)
    assert made is not spliced and made.model is model and made.sae_adapter is adapter
    with torch.no_grad():
        expected = spliced(TOKENS)
        assert torch.equal(made(TOKENS), expected)
        with made.disabled():
            assert not torch.equal(made(TOKENS), expected)
        assert torch.equal(spliced(TOKENS), expected)


def test_an_adapter_of_an_adapter_is_refused():
    with pytest.raises(FsrlError, match="is an SAEAdapter already; give its .sae"):
        SAEAdapter(SAEAdapter(make_sae()))
