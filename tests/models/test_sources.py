"""Which files a study's settings mean, without asking anybody."""

import json

import pytest

from fsrl.errors import FsrlError
from fsrl.models import hub_files, sources
from fsrl.models.sources import ModelSource, SAESource

NAMES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
INDEX = "model.safetensors.index.json"
SHARDS = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]


def test_files_of_a_hub_model_at_a_revision():
    files = ModelSource(hub="gpt2", revision="v1").hub_files()
    assert [file.path for file in files] == NAMES
    assert {file.path for file in files if file.required} == {"config.json", "tokenizer.json"}
    assert {(file.repo, file.revision) for file in files} == {("gpt2", "v1")}


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A cache of files by name, None for those that their repository is known to lack."""
    known = {}
    monkeypatch.setattr(hub_files, "cached", lambda file: known.get(file.path))

    def lacking(file):
        return file.path not in known or (file.required and known[file.path] is None)

    monkeypatch.setattr(hub_files, "missing", lambda files: [file for file in files if lacking(file)])
    (tmp_path / INDEX).write_text(
        json.dumps({"weight_map": dict(zip("abc", [*SHARDS, SHARDS[0]], strict=True))})
    )
    return known


def test_shards_of_a_hub_model_are_known_once_its_index_is_here(hub_cache, tmp_path, monkeypatch):
    """Three rounds: no single file, then the index, then what that lists; asked of the cache alone."""
    rounds, source = [], ModelSource(hub="big")
    repository = {name: tmp_path / name for name in [*NAMES, INDEX, *SHARDS]} | {"model.safetensors": None}

    def fetch(files):
        rounds.append([file.path for file in hub_files.missing(files)])
        hub_cache.update({file.path: repository[file.path] for file in files})

    monkeypatch.setattr(hub_files, "fetch", fetch)
    files = sources.fetch(source)
    assert rounds == [NAMES, [INDEX], SHARDS]
    assert [file.path for file in files] == [NAMES[0], NAMES[1], INDEX, *SHARDS, *NAMES[2:]]
    assert all(file.required for file in files if file.path in SHARDS)
    del hub_cache[SHARDS[1]]
    assert [file.path for file in hub_files.missing(source.hub_files())] == SHARDS[1:]


def test_a_single_file_in_the_cache_needs_no_index(hub_cache, tmp_path):
    hub_cache["model.safetensors"] = tmp_path / "model.safetensors"
    assert [file.path for file in ModelSource(hub="gpt2").hub_files()] == NAMES


def test_a_repository_without_safetensors_is_refused_with_what_to_do(hub_cache):
    hub_cache |= {"model.safetensors": None, INDEX: None}
    with pytest.raises(FsrlError, match=r"old has neither .* nor .*index.json; .*save_pretrained\(folder\)"):
        ModelSource(hub="old").hub_files()


@pytest.fixture
def folder(tmp_path):
    """A model's folder without weights."""
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_a_missing_shard_is_named(folder):
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": SHARDS[1], "b": SHARDS[0]}}))
    (folder / SHARDS[0]).touch()
    with pytest.raises(FsrlError, match=rf"{SHARDS[1]} is missing; put the file there"):
        ModelSource(folder=str(folder)).local_files()
    (folder / SHARDS[1]).touch()
    assert sources.weight_files(folder) == [folder / name for name in SHARDS]
    assert {path.name for path in ModelSource(folder=str(folder)).local_files()} >= {INDEX, *SHARDS}


@pytest.mark.parametrize(
    "listed",
    [{}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": {"a": "../a.safetensors"}},
     {"weight_map": {"a": "/a.safetensors"}}, {"weight_map": {"a": "a.bin"}}, {"weight_map": {"a": [1]}}],
)  # fmt: skip
def test_an_index_names_files_beside_it(folder, listed):
    (folder / INDEX).write_text(json.dumps(listed))
    with pytest.raises(FsrlError, match=rf"{INDEX}: weight_map must name safetensors files beside it"):
        sources.weight_files(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pytorch_model.bin", r"has its weights in pytorch_model.bin, .*save_pretrained\(folder\)"),
        ("pytorch_model.bin.index.json", r"has its weights in pytorch_model.bin"),
        ("tf_model.h5", r"has its weights in tf_model.h5, which is not read; .*model.save_pretrained"),
        ("model.fp16.safetensors", r"has its weights in model.fp16.safetensors, .*model.save_pretrained"),
        ("gpt2.Q4_K_M.gguf", r"has its weights in gpt2.Q4_K_M.gguf, .*model.save_pretrained"),
        ("adapter_model.safetensors", r"holds an adapter \(LoRA\) and no model; .*merge_and_unload"),
        ("other.safetensors", r"model.safetensors is missing; put the file there"),
    ],
)
def test_weights_in_another_format_are_refused_with_the_remedy(folder, name, message):
    (folder / name).touch()
    with pytest.raises(FsrlError, match=message):
        ModelSource(folder=str(folder)).local_files()


@pytest.mark.parametrize("name", ["vocab.json", "vocab.txt", "tokenizer.model", "tokenizer_config.json"])
def test_a_tokenizer_in_another_format_is_refused_with_the_remedy(folder, name):
    (folder / "model.safetensors").touch()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FsrlError, match=r"tokenizer.json is missing; put the file there"):
        ModelSource(folder=str(folder)).local_files()
    (folder / name).touch()
    missing = rf"tokenizer.json is missing, and {name} is not read instead"
    with pytest.raises(FsrlError, match=rf"{missing}; .*tokenizer.save_pretrained\(folder\)"):
        ModelSource(folder=str(folder)).local_files()


@pytest.mark.parametrize("settings", [{"folder": 5}, {"hub": ["gpt2"]}, {"hub": "gpt2", "revision": 1}])
def test_a_source_that_is_no_text_is_refused(settings):
    name = list(settings)[-1]
    with pytest.raises(FsrlError, match=rf"model: {name} is .*; give a text"):
        ModelSource(**settings)


def test_the_config_of_a_model_is_told_where_it_is_known(folder, hub_cache):
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    assert ModelSource(folder=str(folder)).config() == {"model_type": "gpt2"}
    assert ModelSource(hub="gpt2").config() is None
    hub_cache["config.json"] = folder / "config.json"
    assert ModelSource(hub="gpt2").config() == {"model_type": "gpt2"}
    assert ModelSource(folder=str(folder / "none")).config() is None


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


WRONG = {
    "folder is 5; give the path": {"folder": 5},
    "release is 5; give the name": {"release": 5},
    "neurons is 'x'; give a number": {"neurons": "x"},
    "neurons is -1; give a number": {"neurons": -1},
    "ids is 'abc'; give a list": {"folder": "saes", "ids": "abc"},
    "ids is 5; give a list": {"folder": "saes", "ids": 5},
    r"ids is \(5,\); give a list": {"folder": "saes", "ids": (5,)},
    "one of ids is 'aaa.*; correct": {"folder": "saes", "ids": ("a" * 300,)},
    r"one of ids is 'a\\x00b'; correct": {"folder": "saes", "ids": ("a\0b",)},
    "revision is 5; give a branch": {"release": "gpt2-small-res-jb", "revision": 5},
}


@pytest.mark.parametrize("said", WRONG)
def test_a_source_of_another_kind_is_refused_by_name(said):
    for make in (lambda settings: SAESource(**settings), SAESource.from_settings):
        with pytest.raises(FsrlError, match=f"^saes: {said}"):
            make(WRONG[said])
