"""Reading models and SAEs through TransformerLens and SAELens, and what happens when a file is wrong."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fsrl import hub
from fsrl.errors import FsrlError
from tests.fixtures import tiny_study as tiny


@pytest.fixture(scope="module")
def unembedding(tiny_study):
    return hub.load_unembedding(
        tiny_study / "model", counts_path=tiny_study / "token_counts.safetensors", study="tiny"
    )


@pytest.fixture
def study(tiny_study, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_study, tmp_path / "tiny")


def decoders_of(study, ids=tiny.SAE_IDS, d_model=tiny.D_MODEL):
    return hub.load_decoders(study / "saes", ids, d_model=d_model, model_name="tiny", study="tiny")


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


def test_fold_by_hand():
    W_U = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    # gain 1 and 2: rows [1, 2] and [6, 8], less their mean over d_model [3.5, 5]
    assert torch.equal(hub.fold(W_U, torch.tensor([1.0, 2.0])), torch.tensor([[-2.5, -3.0], [2.5, 3.0]]))


def test_tokens_are_as_stored_and_counts_belong_to_them(unembedding, tiny_study):
    vocabulary = json.loads((tiny_study / "model/vocab.json").read_text())
    assert list(unembedding.tokens) == sorted(vocabulary, key=vocabulary.get)
    assert any(token.startswith("Ġ") for token in unembedding.tokens)
    assert torch.equal(unembedding.counts, load_file(tiny_study / "token_counts.safetensors")["count"])


def test_decoders_are_the_stored_rows_with_their_densities(tiny_study):
    for decoder, sae in zip(decoders_of(tiny_study), tiny.SAE_IDS, strict=True):
        stored = load_file(tiny_study / "saes" / sae / "sae_weights.safetensors")["W_dec"]
        assert torch.equal(decoder.W_dec, stored.float())
        assert (decoder.sae, decoder.hook) == (sae, sae)
    first, second = decoders_of(tiny_study)
    assert first.log10_density is not None
    assert second.log10_density is None


def test_provenance_names_the_files_by_their_hashes(unembedding, tiny_study):
    import hashlib

    expected = hashlib.sha256((tiny_study / "model/model.safetensors").read_bytes()).hexdigest()
    assert unembedding.metadata["model_sha256"] == expected
    assert unembedding.metadata["sae-lens"] == "6.54.12"
    assert decoders_of(tiny_study)[0].metadata["study"] == "tiny"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_model_file_is_named(study, name):
    (study / "model" / name).unlink()
    with pytest.raises(FsrlError, match=rf"model: .*{name} is missing"):
        hub.load_unembedding(study / "model", counts_path=None, study="tiny")


def test_a_truncated_model_is_named(study):
    path = study / "model/model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FsrlError, match=r"model.safetensors: cannot be read"):
        hub.load_unembedding(study / "model", counts_path=None, study="tiny")


def test_a_nan_weight_is_named_with_its_place(study):
    path = study / "saes" / tiny.SAE_IDS[0] / "sae_weights.safetensors"
    tensors = load_file(path)
    tensors["W_dec"][3, 5] = float("nan")
    save_file(tensors, path)
    with pytest.raises(FsrlError, match=r"W_dec: nan at \[3, 5\]"):
        decoders_of(study)


def test_an_sae_of_another_model_is_refused(study):
    with pytest.raises(FsrlError, match="W_dec has d_model 16, but tiny has 24"):
        decoders_of(study, d_model=24)


def test_a_missing_or_truncated_sae_is_named(study):
    with pytest.raises(FsrlError, match=r"SAE blocks.9.hook_resid_pre: .*cfg.json is missing"):
        decoders_of(study, ["blocks.9.hook_resid_pre"])
    path = study / "saes" / tiny.SAE_IDS[0] / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(FsrlError, match=r"sae_weights.safetensors: cannot be read"):
        decoders_of(study)


def test_counts_and_densities_of_another_size_are_refused(study):
    save_file({"count": torch.zeros(7, dtype=torch.int64)}, study / "counts.safetensors")
    with pytest.raises(FsrlError, match=r"count has shape \[7\]"):
        hub.load_unembedding(study / "model", counts_path=study / "counts.safetensors", study="tiny")
    with pytest.raises(FsrlError, match=r"token counts: .*none.safetensors is missing"):
        hub.load_unembedding(study / "model", counts_path=study / "none.safetensors", study="tiny")
    save_file({"sparsity": torch.zeros(3)}, study / "saes" / tiny.SAE_IDS[0] / "sparsity.safetensors")
    with pytest.raises(FsrlError, match=r"sparsity has shape \[3\], the SAE has 40 features"):
        decoders_of(study)


@pytest.mark.parametrize(("hook", "layer"), [("blocks.8.hook_resid_pre", 8), ("blocks.11.attn.hook_z", 11)])
def test_layer_of_a_hook(hook, layer):
    assert hub.layer_of(hook) == layer


@pytest.mark.parametrize("hook", ["hook_embed", "blocks.x.hook_resid_pre", "blocks.3"])
def test_a_hook_without_a_layer_is_refused(hook):
    with pytest.raises(FsrlError, match="expected blocks.N.hook_NAME"):
        hub.layer_of(hook)
