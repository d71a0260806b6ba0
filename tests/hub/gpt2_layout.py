"""A GPT-2 of any shape with random weights, in the files of openai-community/gpt2.

Names of files, keys of config.json, names of tensors (no `transformer.` prefix, the causal masks kept) and
order of the vocabulary (256 bytes, merges, <|endoftext|>) are those of the real repository. Written by hand,
without transformers, so that it takes milliseconds.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Shape:
    """The default is GPT-2 small's. gain: mean weight of the blocks' norms.

    With random weights of d_model 768 a gain of 1.3 makes attention so sharp that rounding alone moves the
    end of the stream by 1e-4 of its largest value.
    """

    d_model: int = 768
    n_heads: int = 12
    n_layers: int = 12
    n_ctx: int = 1024
    gain: float = 1.3


def write_model(
    folder: Path, shape: Shape, merges: Sequence[tuple[str, str]], *, padding: int = 0, seed: int = 0
) -> dict[str, Tensor]:
    """Write the seven files and return the weights; `padding` rows of wte belong to no token."""
    folder.mkdir(parents=True, exist_ok=True)
    d_vocab = 256 + len(merges) + 1
    tensors = weights(shape, d_vocab + padding, seed)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = config(shape, d_vocab + padding, end_of_text=d_vocab - 1)
    generation = {name: settings[name] for name in ("bos_token_id", "eos_token_id")}
    files = {
        "config.json": json.dumps(settings, indent=2),
        "generation_config.json": json.dumps({"_from_model_config": True, **generation}, indent=2),
        "tokenizer_config.json": json.dumps({"model_max_length": shape.n_ctx}),
        **tokenizer_files(merges),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return tensors


def config(shape: Shape, d_vocab: int, end_of_text: int) -> dict:
    return {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": end_of_text,
        "embd_pdrop": 0.1,
        "eos_token_id": end_of_text,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": shape.n_ctx,
        "n_embd": shape.d_model,
        "n_head": shape.n_heads,
        "n_layer": shape.n_layers,
        "n_positions": shape.n_ctx,
        "resid_pdrop": 0.1,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "vocab_size": d_vocab,
    }


def weights(shape: Shape, d_vocab: int, seed: int = 0) -> dict[str, Tensor]:
    """Random weights with about the scales of the trained GPT-2 small; no LayerNorm is the identity."""
    made = torch.Generator().manual_seed(seed)

    def normal(*size: int, std: float) -> Tensor:
        return torch.randn(size, generator=made) * std

    d = shape.d_model
    tensors = {"wte.weight": normal(d_vocab, d, std=0.14), "wpe.weight": normal(shape.n_ctx, d, std=0.12)}
    for layer in range(shape.n_layers):
        for name, inputs, outputs in (
            ("attn.c_attn", d, 3 * d),
            ("attn.c_proj", d, d),
            ("mlp.c_fc", d, 4 * d),
            ("mlp.c_proj", 4 * d, d),
        ):
            tensors[f"h.{layer}.{name}.weight"] = normal(inputs, outputs, std=0.14)
            tensors[f"h.{layer}.{name}.bias"] = normal(outputs, std=0.1)
        mask = torch.ones(shape.n_ctx, shape.n_ctx).tril()
        tensors[f"h.{layer}.attn.bias"] = mask.view(1, 1, shape.n_ctx, shape.n_ctx)
    for norm in [*(f"h.{layer}.ln_{n}" for layer in range(shape.n_layers) for n in (1, 2)), "ln_f"]:
        scale = 1.0 if norm == "ln_f" else shape.gain / 1.3
        tensors[f"{norm}.weight"] = scale * (normal(d, std=0.2) + 1.3)
        tensors[f"{norm}.bias"] = normal(d, std=0.1)
    return tensors


def tokenizer_files(merges: Sequence[tuple[str, str]]) -> dict[str, str]:
    """vocab.json, merges.txt and tokenizer.json of a byte-level BPE with these merges, first ranked first.

    Raises ValueError if two merges make the same token.
    """
    tokens = [*byte_symbols(), *(left + right for left, right in merges), END_OF_TEXT]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise ValueError("two merges make the same token")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    marks = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": len(tokens) - 1, "content": END_OF_TEXT, **marks}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {**byte_level, "trim_offsets": False},
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": vocabulary,
            "merges": [f"{left} {right}" for left, right in merges],
        },
    }
    return {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *(f"{left} {right}" for left, right in merges), ""]),
        "tokenizer.json": json.dumps(tokenizer, ensure_ascii=False),
    }


def byte_symbols() -> list[str]:
    """The 256 bytes as GPT-2 writes them (a space is Ġ), in the order of its vocabulary."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]


def merges_of(words: Iterable[str]) -> list[tuple[str, str]]:
    """Merges that build each word (in GPT-2's symbols) from the left, each token once."""
    made: dict[str, tuple[str, str]] = {}
    for word in words:
        for end in range(2, len(word) + 1):
            made.setdefault(word[:end], (word[: end - 1], word[end - 1]))
    return list(made.values())
