"""The weights that large_shapes.py runs on: made up, of any shape."""

from pathlib import Path
from typing import NamedTuple

# Tokens that no text held.
RESERVED = 400


class Shape(NamedTuple):
    """tokens, d_model, features of one SAE."""

    tokens: int
    d_model: int
    features: int


def write(folder: Path, shape: Shape) -> None:
    """W_U, a model and a decoder, unless they are there."""
    import torch

    from fsrl.weights import columns, matrices

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    if not (path := folder / "unembedding.safetensors").exists():
        raw = columns.empty(torch.empty(shape.d_model, 0), shape.tokens)
        for row in raw:
            row.normal_(generator=generator)
        # Tokens that no text held lie together, as they do in models.
        raw[:, :RESERVED] *= 0.1
        tokens = _tokens(shape.tokens)
        trained = torch.arange(shape.tokens) >= RESERVED
        # Folding as an RMSNorm without a gain does: the same numbers, stored twice.
        folded = columns.empty(raw, shape.tokens)
        folded.copy_(raw)
        matrices.write_unembedding(matrices.Unembedding(folded, raw, tokens, None, trained, {}), path)
    if not (path := folder / "model").exists():
        _model(path, shape.tokens, shape.d_model)
    if not (path := folder / "decoder.safetensors").exists():
        W_dec = torch.randn(shape.features, shape.d_model, generator=generator)
        hook = "blocks.0.hook_resid_post"
        matrices.write_decoder(matrices.Decoder(W_dec, None, hook, 0, hook, {}), path)


def _tokens(n_tokens: int) -> tuple[str, ...]:
    return tuple(f"<unused{number}>" if number < RESERVED else f"t{number}" for number in range(n_tokens))


def _model(folder: Path, n_tokens: int, d_model: int) -> None:
    """A Llama of one block in bfloat16, with W_E and W_U of their own."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    numbers = {token: number for number, token in enumerate(_tokens(n_tokens))}
    made = Tokenizer(models.BPE(numbers, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)
    sizes = {"hidden_size": d_model, "intermediate_size": 4 * d_model, "num_attention_heads": d_model // 64}
    LlamaConfig(vocab_size=n_tokens, num_hidden_layers=1, **sizes).save_pretrained(folder)
    shapes = {f"self_attn.{name}_proj": (d_model, d_model) for name in "qkvo"}
    shapes |= {f"mlp.{name}_proj": (4 * d_model, d_model) for name in ("gate", "up")}
    shapes["mlp.down_proj"] = (d_model, 4 * d_model)
    named = {f"model.layers.0.{name}.weight": shape for name, shape in shapes.items()}
    named |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (n_tokens, d_model))
    generator = torch.Generator().manual_seed(0)
    stored = {
        name: torch.empty(shape, dtype=torch.bfloat16).normal_(std=d_model**-0.5, generator=generator)
        for name, shape in named.items()
    }
    # As in W_U: tokens that no text held lie together.
    stored["lm_head.weight"][:RESERVED] *= 0.1
    norms = ("layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm")
    stored |= {f"model.{name}.weight": torch.ones(d_model, dtype=torch.bfloat16) for name in norms}
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
