"""Reading models and SAEs through TransformerLens and SAELens, and what happens when a file is wrong."""

import hashlib
import json
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from fsrl.errors import FsrlError
from fsrl.hooks import layer_of
from fsrl.models import dictionaries, export, reading, writing
from fsrl.models.sources import ModelSource, SAESource
from tests.fixtures import tiny_study as tiny

TRAINED = {"min_count": tiny.MIN_COUNT, "draws": 1000, "seed": 0}


def model_of(study):
    return reading.read_model(ModelSource(folder=str(study / "model")))


def unembedding_of(study, counts="token_counts.safetensors"):
    path = None if counts is None else study / counts
    return export.unembedding(model_of(study), counts_path=path, **TRAINED)


@pytest.fixture(scope="module")
def model(tiny_study):
    return model_of(tiny_study)


@pytest.fixture(scope="module")
def unembedding(tiny_study):
    return unembedding_of(tiny_study)


@pytest.fixture
def study(tiny_study, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_study, tmp_path / "tiny")


def decoders_of(study, model, ids=None):
    return list(dictionaries.decoders(SAESource(folder=str(study / "saes"), ids=ids), model, study="tiny"))


def test_raw_is_the_tied_embedding_and_folded_what_transformer_lens_folds(unembedding, tiny_study):
    from transformer_lens.model_bridge import TransformerBridge

    state = load_file(tiny_study / "model/model.safetensors")
    embedding = next(tensor for name, tensor in state.items() if name.endswith("wte.weight"))
    assert torch.equal(unembedding.raw, embedding.T.float()[:, : len(unembedding.tokens)])
    bridge = TransformerBridge.boot_transformers(str(tiny_study / "model"), device="cpu", dtype=torch.float32)
    bridge.enable_compatibility_mode()
    # TransformerLens also centres over the vocabulary: one constant per row.
    difference = unembedding.folded - bridge.W_U.detach()[:, : len(unembedding.tokens)]
    assert (difference - difference.mean(1, keepdim=True)).abs().max() < 1e-6
    assert unembedding.folded.mean(0).abs().max() < 1e-6


def test_tokens_are_as_stored_and_counts_belong_to_them(unembedding, tiny_study):
    vocabulary = json.loads((tiny_study / "model/vocab.json").read_text())
    assert list(unembedding.tokens) == sorted(vocabulary, key=vocabulary.get)
    assert any(token.startswith("Ġ") for token in unembedding.tokens)
    assert torch.equal(unembedding.counts, load_file(tiny_study / "token_counts.safetensors")["count"])


def test_decoders_are_the_stored_rows_with_their_densities(tiny_study, model):
    for decoder, sae in zip(decoders_of(tiny_study, model), tiny.SAE_IDS, strict=True):
        stored = load_file(tiny_study / "saes" / sae / "sae_weights.safetensors")["W_dec"]
        assert torch.equal(decoder.W_dec, stored.float())
        assert (decoder.sae, decoder.hook) == (sae, sae)
    first, second = decoders_of(tiny_study, model)
    assert first.log10_density is not None
    assert second.log10_density is None


def test_an_sae_without_densities_is_warned_of_once(tiny_study, model, caplog):
    decoders_of(tiny_study, model)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"SAE {tiny.SAE_IDS[1]} of {tiny_study / 'saes'} ships no densities: log10_density is null"
    ]


def test_provenance_names_the_files_by_their_hashes(unembedding, model, tiny_study):
    expected = hashlib.sha256((tiny_study / "model/model.safetensors").read_bytes()).hexdigest()
    assert unembedding.metadata["model_sha256"] == expected
    assert unembedding.metadata["sae-lens"] == "6.54.12"
    metadata = decoders_of(tiny_study, model)[0].metadata
    stored = tiny_study / "saes" / tiny.SAE_IDS[0] / "sae_weights.safetensors"
    assert metadata["sae_sha256"] == hashlib.sha256(stored.read_bytes()).hexdigest()
    assert (metadata["study"], metadata["sae_revision"]) == ("tiny", "local folder")


def test_a_model_in_shards_is_the_same_model(study, model):
    place = study / "model"
    own = GPT2LMHeadModel.from_pretrained(place)
    (place / "model.safetensors").unlink()
    own.save_pretrained(place, max_shard_size="20KB")
    found = model_of(study)
    assert torch.equal(found.W_U, model.W_U) and torch.equal(found.bridge.W_in, model.bridge.W_in)
    shards = sorted(place.glob("model-*.safetensors"))
    printed = subprocess.run(
        ["sha256sum", *[path.name for path in shards]], cwd=place, capture_output=True, check=True
    ).stdout
    assert len(shards) > 1 and found.metadata["model_sha256"] == hashlib.sha256(printed).hexdigest()
    said = f"every parameter read from {shards[0].name} to {shards[-1].name} ({len(shards)} files)"
    assert found.metadata["model_weights"] == said
    shards[-1].unlink()
    with pytest.raises(FsrlError, match=rf"{shards[-1].name} is missing"):
        model_of(study)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_model_file_is_named(study, name):
    (study / "model" / name).unlink()
    with pytest.raises(FsrlError, match=rf"{name} is missing"):
        model_of(study)


def test_a_truncated_model_is_named(study):
    path = study / "model/model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FsrlError, match=r"model.safetensors: cannot be read"):
        model_of(study)


def test_a_nan_weight_is_named_with_its_place(study, model):
    path = study / "saes" / tiny.SAE_IDS[0] / "sae_weights.safetensors"
    tensors = load_file(path)
    tensors["W_dec"][3, 5] = float("nan")
    save_file(tensors, path)
    with pytest.raises(FsrlError, match=r"sae_weights.safetensors: W_dec: nan at \[3, 5\].*again"):
        decoders_of(study, model)


def test_an_sae_of_another_width_is_refused(study, model):
    path = study / "saes" / tiny.SAE_IDS[0] / "sae_weights.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"W_dec": torch.zeros(tiny.D_SAE, 24)}, path)
    with pytest.raises(FsrlError, match=r"W_dec has shape \[40, 24\], but .*cfg.json are \[40, 16\]"):
        decoders_of(study, model)
    config = json.loads(path.with_name("cfg.json").read_text())
    path.with_name("cfg.json").write_text(json.dumps(config | {"d_in": 24}))
    wider = {
        "W_enc": torch.zeros(24, tiny.D_SAE),
        "W_dec": torch.zeros(tiny.D_SAE, 24),
        "b_dec": torch.zeros(24),
    }
    save_file(tensors | wider, path)
    with pytest.raises(FsrlError, match=r"sae_weights.safetensors: W_dec has d_model 24, but .* has 16"):
        decoders_of(study, model)


def test_an_sae_without_a_decoder_is_named(study, model):
    path = study / "saes" / tiny.SAE_IDS[0] / "sae_weights.safetensors"
    save_file({"W_enc": torch.zeros(2, 2)}, path)
    with pytest.raises(FsrlError, match=r"sae_weights.safetensors: not the tensors of .*missing: .*W_dec"):
        decoders_of(study, model)


def test_a_missing_or_truncated_sae_is_named(study, model):
    with pytest.raises(FsrlError, match=r"unknown SAE 'blocks.9.hook_resid_pre' \(known: blocks.0"):
        decoders_of(study, model, ("blocks.9.hook_resid_pre",))
    path = study / "saes" / tiny.SAE_IDS[0] / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(FsrlError, match=r"sae_weights.safetensors: cannot be read"):
        decoders_of(study, model)
    (path.parent / "cfg.json").unlink()
    with pytest.raises(FsrlError, match=r"cfg.json is missing"):
        decoders_of(study, model, tiny.SAE_IDS)


def test_counts_and_densities_of_another_size_are_refused(study, model):
    save_file({"count": torch.zeros(7, dtype=torch.int64)}, study / "counts.safetensors")
    with pytest.raises(FsrlError, match=r"count has shape \[7\]"):
        unembedding_of(study, "counts.safetensors")
    with pytest.raises(FsrlError, match=r"token counts: .*none.safetensors is missing"):
        unembedding_of(study, "none.safetensors")
    save_file({"sparsity": torch.zeros(3)}, study / "saes" / tiny.SAE_IDS[0] / "sparsity.safetensors")
    with pytest.raises(FsrlError, match=r"sparsity has shape \[3\], the SAE has 40 features"):
        decoders_of(study, model)


def test_trained_tokens_are_those_seen_often_enough(unembedding):
    assert torch.equal(unembedding.trained, unembedding.counts >= tiny.MIN_COUNT)
    assert unembedding.metadata["trained_tokens"].startswith("at least 5 occurrences")
    assert unembedding.metadata["trained_tokens"].endswith(" 30 left out")


def test_neurons_are_the_rows_of_w_out(model, tiny_study):
    found = list(dictionaries.decoders(SAESource(neurons=tiny.N_LAYERS), model, study="tiny"))
    state = load_file(tiny_study / "model/model.safetensors")
    for layer, decoder in enumerate(found):
        stored = next(t for name, t in state.items() if name.endswith(f"h.{layer}.mlp.c_proj.weight"))
        assert torch.equal(decoder.W_dec, stored)
        assert (decoder.hook, decoder.layer) == (f"blocks.{layer}.mlp.hook_post", layer)
        assert decoder.log10_density is None
    with pytest.raises(FsrlError, match="has 2 layers; saes.neurons asks for more"):
        list(dictionaries.decoders(SAESource(neurons=3), model, study="tiny"))


def test_a_mapped_hook_z_row_is_what_the_model_adds_to_attn_out(model):
    """The model's own forward pass is the oracle: add a hook_z direction, see attn_out change by the row."""
    heads, d_head = model.bridge.cfg.n_heads, model.bridge.cfg.d_head
    W_dec = torch.randn(3, heads * d_head, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[0, 5, 9, 17]])
    for layer in range(tiny.N_LAYERS):
        mapped, _ = writing.in_stream(W_dec, model.bridge, f"blocks.{layer}.attn.hook_z", "rows")
        plain = attn_out(model.bridge, tokens, layer)
        for row, expected in zip(W_dec, mapped, strict=True):
            moved = attn_out(model.bridge, tokens, layer, add=row.reshape(heads, d_head))
            assert torch.allclose(moved - plain, expected.expand_as(plain), atol=1e-5)


def attn_out(bridge, tokens, layer, add=None):
    """attn_out [1, position, d_model] at one layer, with `add` [n_heads, d_head] added to hook_z."""
    seen = {}
    hooks = [(f"blocks.{layer}.hook_attn_out", lambda value, hook: seen.update(out=value.detach()))]
    if add is not None:
        hooks.append((f"blocks.{layer}.attn.hook_z", lambda z, hook: z + add.reshape(z.shape[2:])))
    with torch.no_grad():
        bridge.run_with_hooks(tokens, fwd_hooks=hooks)
    return seen["out"]


def test_a_hook_z_decoder_of_another_width_is_refused(model):
    hook = "blocks.0.attn.hook_z"
    with pytest.raises(
        FsrlError, match="rows: W_dec has width 20, but at blocks.0.attn.hook_z the model has 16"
    ):
        writing.in_stream(torch.zeros(2, 20), model.bridge, hook, "rows")


@pytest.mark.parametrize(("hook", "layer"), [("blocks.8.hook_resid_pre", 8), ("blocks.11.attn.hook_z", 11)])
def test_layer_of_a_hook(hook, layer):
    assert layer_of(hook) == layer


@pytest.mark.parametrize("hook", ["hook_embed", "blocks.x.hook_resid_pre", "blocks.3"])
def test_a_hook_without_a_layer_is_refused(hook):
    with pytest.raises(FsrlError, match="expected blocks.N.hook_NAME"):
        layer_of(hook)
