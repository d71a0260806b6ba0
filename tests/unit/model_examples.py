"""The tiny study's model in the three forms that HookedModel takes."""

import warnings

import torch

TOKENS = torch.tensor([[0, 40, 41, 77, 120, 99, 30], [0, 77, 40, 201, 18, 60, 61]])


def bridge(folder, *, processed=True):
    """A TransformerBridge, in compatibility mode or raw."""
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
    if processed:
        model.enable_compatibility_mode(disable_warnings=True)
    return model


def transformer(folder, *, centred=True):
    """A HookedTransformer of the same weights: from_pretrained takes no folder."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
    from transformers import AutoTokenizer, GPT2LMHeadModel

    source = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    given = source.config
    cfg = HookedTransformerConfig(
        n_layers=given.n_layer,
        d_model=given.n_embd,
        n_heads=given.n_head,
        d_head=given.n_embd // given.n_head,
        d_mlp=4 * given.n_embd,
        n_ctx=given.n_positions,
        d_vocab=given.vocab_size,
        act_fn="gelu_new",
        eps=given.layer_norm_epsilon,
        normalization_type="LNPre",
        original_architecture="GPT2LMHeadModel",
        model_name="ours",
        device="cpu",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = HookedTransformer(cfg, tokenizer=AutoTokenizer.from_pretrained(folder))
    model.load_and_process_state_dict(convert_gpt2_weights(source, cfg), center_writing_weights=centred)
    return model


FORMS = {
    "bridge": bridge,
    "raw bridge": lambda folder: bridge(folder, processed=False),
    "transformer": transformer,
}
