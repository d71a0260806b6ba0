"""SAEs read from folders: the whole SAE, its configuration and densities, and what is wrong with a folder."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fsrl import SAEAdapter
from fsrl.errors import FsrlError
from fsrl.models import saes as saes_of_models
from tests.fixtures.adapter_examples import ARCHITECTURES, activations, make_sae
from tests.fixtures.tiny_study import D_SAE, SAE_IDS


@pytest.fixture
def saes(tiny_study, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_study / "saes", tmp_path / "saes")


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "abstopk", "matching_pursuit"])
def test_an_sae_comes_back_as_sae_lens_saved_it(architecture, tmp_path):
    sae = make_sae(architecture, normalize_activations="layer_norm")
    sae.save_model(tmp_path / "ours")
    adapter, config, sparsity = SAEAdapter.from_pretrained(tmp_path, "ours")
    found, expected = adapter.sae.state_dict(), sae.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert config["architecture"] == architecture and config["d_sae"] == sae.cfg.d_sae
    assert config["metadata"]["hook_name"] == "blocks.1.hook_resid_pre" == adapter.cfg.metadata.hook_name
    assert sparsity is None
    x = activations(3)
    assert torch.equal(adapter.sae.encode(x), sae.encode(x))
    assert torch.equal(adapter(x), x)


@pytest.mark.parametrize("given", [str, Path])
def test_densities_come_with_it_where_there_are_any(saes, given):
    adapter, _, sparsity = SAEAdapter.from_pretrained(given(saes), SAE_IDS[0], use_lora_adapter=True)
    torch.testing.assert_close(sparsity, torch.linspace(-10, -1, D_SAE))
    assert adapter.identity.sae_id == SAE_IDS[0] and adapter.settings.use_lora_adapter
    assert SAEAdapter.from_pretrained(given(saes), SAE_IDS[1])[2] is None


def test_the_device_is_where_everything_goes(saes):
    adapter, config, sparsity = saes_of_models.load_sae(saes, SAE_IDS[0], device=torch.device("meta"))
    assert adapter.W_dec.device.type == sparsity.device.type == "meta" and config["device"] == "meta"


def test_nothing_is_said_of_centred_weights_before_a_model_is_there(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_sae(metadata={"model_from_pretrained_kwargs": {"center_writing_weights": True}}).save_model(
            tmp_path / "ours"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        SAEAdapter.from_pretrained(tmp_path, "ours")


def test_an_unknown_norm_of_the_activations_is_refused(tmp_path):
    make_sae(normalize_activations="expected_average_only_in").save_model(tmp_path / "ours")
    with pytest.raises(FsrlError, match="ours/cfg.json.*fold_activation_norm_scaling_factor"):
        SAEAdapter.from_pretrained(tmp_path, "ours")


def test_an_unknown_sae_is_refused_with_those_that_there_are(saes):
    with pytest.raises(FsrlError, match="unknown SAE 'blocks.7.hook_resid_pre' .known: blocks.0.hook_resid"):
        SAEAdapter.from_pretrained(saes, "blocks.7.hook_resid_pre")


@pytest.mark.parametrize("missing", ["cfg.json", "sae_weights.safetensors"])
def test_a_missing_file_is_named(saes, missing):
    (saes / SAE_IDS[0] / missing).unlink()
    with pytest.raises(FsrlError, match=f"{missing} is missing"):
        SAEAdapter.from_pretrained(saes, SAE_IDS[0])


@pytest.mark.parametrize("broken", ["cfg.json", "sae_weights.safetensors", "sparsity.safetensors"])
def test_a_broken_file_is_named(saes, broken):
    path = saes / SAE_IDS[0] / broken
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FsrlError, match=f"{broken}: cannot be read .*save the SAE again"):
        SAEAdapter.from_pretrained(saes, SAE_IDS[0])


def test_a_configuration_of_another_shape_is_refused(saes):
    path = saes / SAE_IDS[0] / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"d_sae": D_SAE + 1}))
    with pytest.raises(FsrlError, match=r"W_dec has shape \[40, 16\], but .*cfg.json are \[41, 16\]"):
        SAEAdapter.from_pretrained(saes, SAE_IDS[0])


def test_densities_of_another_sae_are_refused(saes):
    save_file({"sparsity": torch.zeros(D_SAE + 1)}, saes / SAE_IDS[0] / "sparsity.safetensors")
    with pytest.raises(FsrlError, match=rf"sparsity has shape \[{D_SAE + 1}\], the SAE has {D_SAE}"):
        SAEAdapter.from_pretrained(saes, SAE_IDS[0])


def test_an_unknown_release_is_refused_with_the_one_that_was_meant():
    with pytest.raises(
        FsrlError, match="unknown release 'gpt2-small-res-jp'; did you mean 'gpt2-small-res-jb'"
    ):
        SAEAdapter.from_pretrained("gpt2-small-res-jp", "blocks.7.hook_resid_pre")


def test_an_unknown_sae_of_a_release_is_refused_before_anything_is_fetched():
    with pytest.raises(
        FsrlError, match="unknown SAE 'blocks.7.hook_resid_prr'; did you mean 'blocks.7.hook_"
    ):
        SAEAdapter.from_pretrained("gpt2-small-res-jb", "blocks.7.hook_resid_prr")


def test_a_release_goes_before_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, sae_id = "gpt2-small-res-jb", "blocks.7.hook_resid_pre"
    make_sae().save_model(tmp_path / name / sae_id)
    assert saes_of_models.source_of(name, sae_id).release == name
    assert saes_of_models.source_of(Path(name), sae_id).folder == name
    assert saes_of_models.source_of(f"./{name}", sae_id).folder == f"./{name}"
    # any other folder needs no slash
    make_sae().save_model(tmp_path / "mine" / sae_id)
    assert SAEAdapter.from_pretrained("mine", sae_id)[0].identity.release == "mine"
