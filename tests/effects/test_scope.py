"""Which models have the blocks that are written out."""

import json

import pytest
from transformers import GPT2Config, LlamaConfig

from fsrl.effects.scope import unlike_gpt2, unlike_gpt2_by_name


def test_gpt2_has_them_whatever_its_size_and_however_short_its_config():
    assert unlike_gpt2(GPT2Config(n_embd=16, n_layer=2).to_dict()) is None
    assert unlike_gpt2({"model_type": "gpt2"}) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (json.loads(LlamaConfig().to_json_string()), "model_type is 'llama'"),
        ({}, "model_type is None"),
        (GPT2Config(activation_function="relu").to_dict(), "activation_function is 'relu'"),
        (GPT2Config(scale_attn_weights=False).to_dict(), "scale_attn_weights is False"),
        (
            {"model_type": "gpt2", "activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True},
            "activation_function is 'gelu', scale_attn_by_inverse_layer_idx is True",
        ),
    ],
)
def test_another_model_is_not_and_it_is_said_why(config, reason):
    assert unlike_gpt2(config) == reason


def test_until_the_config_is_here_the_name_tells():
    for name in ("gpt2", "openai-community/gpt2-xl", "distilbert/distilgpt2"):
        assert unlike_gpt2_by_name(name) is None
    for name in ("google/gemma-2-2b", "EleutherAI/pythia-70m-deduped", "somebody/gpt2-like"):
        assert "is no GPT-2" in unlike_gpt2_by_name(name)
