"""A model that does not belong to the SAE is refused; one that is not centred is told of."""

import warnings

import pytest
import torch

from fsrl import HookedModel, SAEAdapter
from fsrl.errors import FsrlError
from fsrl.models import fit as model_fit
from tests.fixtures import model_examples
from tests.fixtures.adapter_examples import make_sae

CENTRED = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}


@pytest.fixture(scope="module")
def bridge(tiny_study):
    return model_examples.bridge(tiny_study / "model")


def adapter(**settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SAELens speaks of centring for every SAE
        return SAEAdapter(make_sae(**settings))


def test_an_sae_or_a_model_of_another_kind_is_refused(bridge):
    with pytest.raises(FsrlError, match=r"StandardSAE is no SAEAdapter; give SAEAdapter\(sae\)"):
        HookedModel(bridge, make_sae())
    with pytest.raises(FsrlError, match="Linear has no hooks"):
        HookedModel(torch.nn.Linear(2, 2), adapter())


@pytest.mark.parametrize("trained_on", ["pythia-70m", "gpt2-medium", "mine"])
@pytest.mark.parametrize("name", ["gpt2", "gpt2-small", "openai-community/gpt2"])
def test_an_sae_of_another_model_is_refused_by_name(bridge, monkeypatch, trained_on, name):
    monkeypatch.setattr(bridge.cfg, "model_name", name)
    with pytest.raises(FsrlError, match=f"trained on {trained_on}, but the model is {name}"):
        HookedModel(bridge, adapter(metadata={"model_name": trained_on}))
    for same in ("gpt2", "gpt2-small", "openai-community/gpt2", None):
        HookedModel(bridge, adapter(metadata={"model_name": same}))


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [
        ("gpt2-small", "openai-community/gpt2", True),
        ("gemma-2-2b", "google/gemma-2-2b", True),
        ("Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("qwen3-4b", "Qwen/Qwen3-4B", True),
        ("meta-llama/llama-3.1-8b", "meta-llama/Llama-3.1-8B", True),
        ("Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B", False),
        ("meta-llama/Llama-3.1-8B", "someone/Llama-3.1-8B", False),
        ("gpt2", "someone/gpt2", False),
        ("gemma-2-2b", "someone/gemma-2-2b", False),
        ("mine", "yours", False),
    ],
)
def test_names_of_one_model(name, other, same):
    assert model_fit.same_model(name, other) is same and model_fit.same_model(other, name) is same


def test_a_model_without_an_official_name_is_taken_at_its_width(bridge):
    HookedModel(bridge, adapter(metadata={"model_name": "gpt2-small"}))


@pytest.mark.parametrize(
    ("hook", "d_in", "width"),
    [
        ("blocks.0.hook_resid_pre", 24, 16),
        ("blocks.0.hook_mlp_out", 64, 16),
        ("blocks.0.attn.hook_z", 8, 16),
        ("blocks.0.mlp.hook_post", 16, 64),
    ],
)
def test_another_width_is_refused(bridge, hook, d_in, width):
    with pytest.raises(FsrlError, match=f"d_in {d_in}, but {hook} of .*model is {width} wide"):
        HookedModel(bridge, adapter(hook=hook, d_in=d_in))


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (
            "blocks.2.hook_resid_pre",
            "has no hook blocks.2.hook_resid_pre; did you mean 'blocks.1.hook_resid_pre'",
        ),
        ("blocks.0.hook_resid_prr", "did you mean 'blocks.0.hook_resid_pre'"),
        (None, "does not say its hook"),
    ],
)
def test_a_missing_hook_is_refused(bridge, hook, message):
    with pytest.raises(FsrlError, match=message):
        HookedModel(bridge, adapter(hook=hook))


def test_two_devices_are_refused(bridge):
    with pytest.raises(FsrlError, match="SAE is on meta, the model on cpu"):
        HookedModel(bridge, adapter().to("meta"))


@pytest.mark.parametrize("form", model_examples.FORMS)
def test_an_unknown_hook_name_is_refused_by_all_calls(tiny_study, form):
    model = HookedModel(model_examples.FORMS[form](tiny_study / "model"), adapter())
    tokens, nothing = model_examples.TOKENS, lambda x, hook: None
    wrong, message = (
        "sae_adapter.hook_fusio",
        "unknown hook 'sae_adapter.hook_fusio'; did you mean 'sae_adapter",
    )
    with pytest.raises(FsrlError, match=message):
        model.run_with_hooks(tokens, fwd_hooks=[(wrong, nothing)])
    with pytest.raises(FsrlError, match=message):
        model.run_with_hooks(tokens, bwd_hooks=[(wrong, nothing)])
    with pytest.raises(FsrlError, match=message), model.hooks([(wrong, nothing)]):
        pass
    for names in (wrong, [wrong]):
        with pytest.raises(FsrlError, match=message):
            model.run_with_cache(tokens, names_filter=names)


def test_an_uncentred_bridge_is_told_of_with_the_call_that_mends_it(tiny_study):
    model = model_examples.bridge(tiny_study / "model", processed=False)
    wants = adapter(metadata=CENTRED)
    with pytest.warns(UserWarning, match=r"call model\.enable_compatibility_mode\(\)$"):
        HookedModel(model, wants)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HookedModel(model, adapter())  # this one asks for nothing
        model.enable_compatibility_mode()
        HookedModel(model, wants)


def test_an_uncentred_transformer_is_told_of_with_the_call_that_mends_it(tiny_study):
    wants = adapter(metadata=CENTRED)
    model = model_examples.transformer(tiny_study / "model", centred=False)
    call = r'call HookedTransformer\.from_pretrained\("ours", center_writing_weights=True\)$'
    with pytest.warns(UserWarning, match=call):
        HookedModel(model, wants)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HookedModel(model_examples.transformer(tiny_study / "model"), wants)


@pytest.mark.parametrize("kwargs", [{}, {"center_writing_weights": False}])
def test_a_centred_model_is_told_of_to_an_sae_of_a_raw_one(tiny_study, kwargs):
    wants = adapter(metadata={"model_from_pretrained_kwargs": kwargs})
    call = r"without centred writing weights, which this model has; call .*from_pretrained_no_processing"
    for model in (
        model_examples.bridge(tiny_study / "model"),
        model_examples.transformer(tiny_study / "model"),
    ):
        with pytest.warns(UserWarning, match=call):
            HookedModel(model, wants)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HookedModel(model_examples.bridge(tiny_study / "model", processed=False), wants)


def test_a_place_that_is_not_in_the_residual_stream_needs_no_centring(tiny_study):
    model = model_examples.bridge(tiny_study / "model", processed=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HookedModel(model, adapter(hook="blocks.0.attn.hook_z", metadata=CENTRED))


def test_bfloat16_does_not_make_a_centred_model_uncentred(tiny_study):
    model = model_examples.bridge(tiny_study / "model").to(torch.bfloat16, print_details=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HookedModel(model, adapter(metadata=CENTRED))
