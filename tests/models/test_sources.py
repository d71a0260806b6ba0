"""Which files a study's settings mean, without asking anybody."""

import pytest

from fsrl.errors import FsrlError
from fsrl.models.sources import ModelSource, SAESource


def test_files_of_a_hub_model_at_a_revision():
    files = ModelSource(hub="gpt2", revision="v1").hub_files()
    assert {file.path for file in files if file.required} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert {(file.repo, file.revision) for file in files} == {("gpt2", "v1")}


def test_files_of_a_release_lie_where_saelens_looks_for_them():
    source = SAESource(
        release="gpt2-small-resid-post-v5-32k", ids=("blocks.3.hook_resid_post",), revision="abc"
    )
    found = {(file.path, file.required) for file in source.hub_files()}
    folder = "v5_32k_layer_3.pt"
    names = {("cfg.json", True), ("sae_weights.safetensors", True), ("sparsity.safetensors", False)}
    assert found == {(f"{folder}/{name}", required) for name, required in names}
    assert {file.revision for file in source.hub_files()} == {"abc"}


def test_files_of_hook_z_are_a_checkpoint_and_its_config():
    source = SAESource(release="gpt2-small-hook-z-kk", ids=("blocks.0.hook_z",))
    stem = "gpt2-small_L0_Hcat_z_lr1.20e-03_l11.80e+00_ds24576_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9"
    assert [file.path for file in source.hub_files()] == [f"{stem}_cfg.json", f"{stem}.pt"]


def test_saes_of_a_folder_come_by_depth(tmp_path):
    names = [
        "blocks.2.hook_resid_pre",
        "blocks.2.attn.hook_z",
        "blocks.2.hook_resid_post",
        "blocks.10.hook_resid_pre",
        "blocks.10.hook_resid_pre_98304",
    ]
    for name in reversed(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cfg.json").touch()
    assert list(SAESource(folder=str(tmp_path)).sae_ids) == names


def test_neurons_are_one_dictionary_a_layer():
    source = SAESource(neurons=2)
    assert source.sae_ids == ("blocks.0.mlp.hook_post", "blocks.1.mlp.hook_post")
    assert source.hub_files() == [] and source.local_files() == []


@pytest.mark.parametrize(
    "settings", [{}, {"hub": "gpt2", "folder": "x"}, {"folder": "x", "revision": "main"}]
)
def test_a_model_from_nowhere_or_from_two_places_is_refused(settings):
    with pytest.raises(FsrlError):
        ModelSource(**settings)
