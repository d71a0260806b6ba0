"""Small cases of set enrichment, and the real W_U and decoders of the embedded study."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from fsrl.enrichment.covariance import LayerCovariance

MINI = Path(__file__).parents[2] / "data" / "mini"


def random_case(n: int = 40, d_model: int = 6, n_tokens: int = 60, n_sets: int = 5, seed: int = 0):
    """W_dec, W_U (off centre) and sets of different sizes, all of them tested."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d_model, d_model, generator=generator)
    W_dec = torch.randn(n, d_model, generator=generator) @ mix
    W_U = torch.randn(d_model, n_tokens, generator=generator) + 2.0
    sizes = torch.linspace(5, n_tokens - 5, n_sets).long()
    order = torch.rand(n_sets, n_tokens, generator=generator).argsort(dim=1)
    return W_dec, W_U, order < sizes.unsqueeze(1)


def as_matrix(covariance: LayerCovariance) -> np.ndarray:
    """C itself [d_model, d_model], from its root."""
    return (covariance.colour @ covariance.colour.T).numpy()


@cache
def mini_unembedding() -> Tensor:
    """W_U [d_model, d_vocab] of the embedded study: tied, the final LayerNorm's weight folded in, centred."""
    weights = load_file(MINI / "model" / "model.safetensors")
    embedding = next(value for name, value in weights.items() if name.endswith("wte.weight"))
    gain = next(value for name, value in weights.items() if name.endswith("ln_f.weight"))
    folded = embedding.T * gain.unsqueeze(1)
    return folded - folded.mean(dim=0)


@cache
def mini_decoder(hook: str = "blocks.4.hook_resid_pre") -> Tensor:
    """W_dec [d_sae, d_model] of one SAE of the embedded study."""
    return load_file(MINI / "saes" / hook / "sae_weights.safetensors")["W_dec"]


@cache
def mini_sets() -> tuple[tuple[str, ...], Tensor]:
    """Names and members (bool [n_sets, d_vocab]) of simple sets of the embedded study's tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MINI / "model" / "tokenizer.json"))
    tokens = [tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())]
    words = [token.lstrip("Ġ") for token in tokens]
    rules = {
        "space": [token.startswith("Ġ") for token in tokens],
        "capital": [word[:1].isupper() for word in words],
        "upper": [len(word) > 1 and word.isupper() for word in words],
        "lower": [word.islower() for word in words],
        "digits": [word.isdigit() for word in words],
        "bracket": [any(character in "()[]{}" for character in word) for word in words],
        "long": [len(word) > 9 for word in words],
        "single": [len(word) == 1 for word in words],
        "unusual": [any(ord(character) > 127 for character in word) for word in words],
    }
    rules |= {
        ending: [word.endswith(ending) for word in words] for ending in ("ing", "ed", "ly", "s", "ation")
    }
    rules |= {letter: [word[:1].lower() == letter for word in words] for letter in "abcdefghilmnoprstuw"}
    return tuple(rules), torch.tensor(list(rules.values()))
