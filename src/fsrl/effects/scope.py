"""Which models have GPT-2's blocks, which `fsrl.effects.forward` and `fsrl.transport.closed_form` write out.

Others go by their own forward pass (`fsrl.effects.own_pass`) and automatic differentiation.
"""

from collections.abc import Mapping
from typing import Any

# A key of config.json, what it must say, and what it says where it is left out.
REPEATED = (
    ("model_type", "gpt2", None),
    ("activation_function", "gelu_new", "gelu_new"),
    ("scale_attn_weights", True, True),
    ("scale_attn_by_inverse_layer_idx", False, False),
)
# Repositories of the hub, without their organisation.
REPOSITORIES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2")


def unlike_gpt2(config: Mapping[str, Any]) -> str | None:
    """What in a model's config.json is not as in GPT-2 ("model_type is 'llama'"); None where all is."""
    odd = [
        f"{key} is {config.get(key, default)!r}"
        for key, wanted, default in REPEATED
        if config.get(key, default) != wanted
    ]
    return ", ".join(odd) or None


def unlike_gpt2_by_name(repository: str) -> str | None:
    """The same by a hub's repository alone, where its config.json is not at hand."""
    if repository.rsplit("/", 1)[-1] in REPOSITORIES:
        return None
    return f"by its name {repository} is no GPT-2 (its config.json is not on this machine)"
