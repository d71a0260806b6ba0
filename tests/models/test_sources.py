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


def write_empty(folder, *names):
    """A folder with the files of an SAE, or those of these names, without content."""
    folder.mkdir()
    for name in names or ("cfg.json", "sae_weights.safetensors"):
        (folder / name).touch()


def test_saes_of_a_folder_come_by_depth(tmp_path):
    names = [
        "blocks.2.hook_resid_pre",
        "blocks.2.attn.hook_z",
        "blocks.2.hook_resid_post",
        "blocks.10.hook_resid_pre",
        "blocks.10.hook_resid_pre_98304",
    ]
    for name in reversed(names):
        write_empty(tmp_path / name)
    (tmp_path / "figures").mkdir()
    assert list(SAESource(folder=str(tmp_path)).sae_ids) == names


@pytest.mark.parametrize(
    ("here", "missing"),
    [
        ("cfg.json", "sae_weights.safetensors"),
        ("sae_weights.safetensors", "cfg.json"),
        ("sae.safetensors", "cfg"),
    ],
)
def test_a_folder_that_is_half_an_sae_is_named(tmp_path, here, missing):
    write_empty(tmp_path / "blocks.0.hook_resid_pre")
    write_empty(tmp_path / "blocks.1.hook_resid_pre", here)
    with pytest.raises(FsrlError, match=rf"blocks.1.hook_resid_pre/{missing}.* is missing.*name the SAEs"):
        _ = SAESource(folder=str(tmp_path)).sae_ids
    source = SAESource(folder=str(tmp_path), ids=("blocks.0.hook_resid_pre",))
    assert len(source.local_files()) == 2


def test_a_folder_without_saes_is_refused_and_an_sae_in_its_place(tmp_path):
    with pytest.raises(FsrlError, match="holds no folder with cfg.json and sae_weights.safetensors; put"):
        _ = SAESource(folder=str(tmp_path)).sae_ids
    write_empty(tmp_path / "ours")
    with pytest.raises(FsrlError, match="ours is an SAE itself; give the folder around it"):
        _ = SAESource(folder=str(tmp_path / "ours")).sae_ids


def test_what_a_trainer_keeps_beside_a_checkpoint_is_read_too(tmp_path):
    write_empty(tmp_path / "ours")
    for name in ("activation_scaler.json", "activation_whitening.safetensors", "trainer_state.pt"):
        (tmp_path / "ours" / name).touch()
    found = [path.name for path in SAESource(folder=str(tmp_path)).local_files()]
    assert found[2:] == ["activation_scaler.json", "activation_whitening.safetensors"]


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
