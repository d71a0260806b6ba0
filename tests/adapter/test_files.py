"""A saved adapter: bit for bit what it was, whole or not there, and never on another SAE."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from fsrl import SAEAdapter
from fsrl.adapter import files as adapter_files
from fsrl.errors import FsrlError
from fsrl.models import hub_files
from tests.fixtures.adapter_examples import activations, make_sae, train

LORA = {"use_lora_adapter": True, "lora_rank": 3, "lora_alpha": 7.5, "fusion_mode": "multiplicative"}


def bits(adapter):
    return {name: value.view(torch.uint8).tolist() for name, value in adapter.layer.state_dict().items()}


@pytest.mark.parametrize("made", [{}, LORA, {"use_error_term": False}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_round_trip_keeps_every_bit_and_setting(tmp_path, made, dtype):
    adapter = train(SAEAdapter(make_sae(), **made))
    adapter.layer.to(dtype)
    with torch.no_grad():  # what does not survive a detour through text
        next(iter(adapter.get_trainable_parameters())).view(-1)[:3] = torch.tensor([-0.0, 1e-40, 1 / 3])
    adapter.save_adapter(tmp_path / "new" / "folder")
    # A fresh adapter, whatever its own settings: the saved ones come with the tensors.
    other = SAEAdapter(make_sae())
    assert other.load_from_pretrained_adapter(str(tmp_path / "new/folder")) is other
    assert bits(other) == bits(adapter) and other.settings == adapter.settings
    assert [p.dtype for p in other.get_trainable_parameters()] == [dtype] * 2
    x = activations(4)
    assert torch.equal(other(x), adapter(x))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31 - 1))
def test_any_bit_pattern_survives(tmp_path_factory, seed):
    """NaN payloads and infinities too: a diverged adapter is kept as it was."""
    folder = tmp_path_factory.mktemp("adapter")
    adapter = SAEAdapter(make_sae(), **LORA)
    drawn = torch.Generator().manual_seed(seed)
    for parameter in adapter.get_trainable_parameters():
        noise = torch.randint(0, 256, (parameter.numel() * 4,), generator=drawn, dtype=torch.uint8)
        parameter.data = noise.view(torch.float32).view(parameter.shape)
    adapter.save_adapter(folder)
    assert bits(SAEAdapter(make_sae()).load_from_pretrained_adapter(folder)) == bits(adapter)


def test_a_loaded_adapter_can_be_trained_on(tmp_path):
    train(SAEAdapter(make_sae(), **LORA)).save_adapter(tmp_path)
    adapter = SAEAdapter(make_sae()).load_from_pretrained_adapter(tmp_path)
    adapter(activations(3)).pow(2).sum().backward()
    assert all(parameter.grad.any() for parameter in adapter.get_trainable_parameters())
    assert all(parameter.grad is None for parameter in adapter.sae.parameters())


def test_the_folder_holds_safetensors_and_json_and_the_same_bytes_each_time(tmp_path):
    adapter = train(SAEAdapter(make_sae(), release="ours", sae_id="first", **LORA))
    adapter.save_adapter(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(written) == {"adapter.safetensors", "adapter.json"}
    assert set(load_file(tmp_path / "adapter.safetensors")) == {"A", "B"}  # the SAE is not copied
    facts = json.loads(written["adapter.json"])
    assert facts["settings"]["lora_alpha"] == 7.5 and facts["sae"]["sae_id"] == "first"
    adapter.save_adapter(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written


def test_another_sae_of_the_same_shape_is_refused_and_nothing_changes(tmp_path):
    train(SAEAdapter(make_sae(), release="ours", sae_id="first", **LORA)).save_adapter(tmp_path)
    other = train(SAEAdapter(make_sae(seed=9), release="ours", sae_id="second"))
    before, settings_before = bits(other), other.settings
    with pytest.raises(FsrlError, match="trained on the SAE first of ours .*, not on second of ours"):
        other.load_from_pretrained_adapter(tmp_path)
    assert bits(other) == before and other.settings == settings_before


def test_one_changed_weight_makes_another_sae(tmp_path):
    SAEAdapter(make_sae()).save_adapter(tmp_path)
    sae = make_sae()
    with torch.no_grad():
        sae.W_enc[3, 4] = torch.nextafter(sae.W_enc[3, 4], torch.tensor(9.0))
    with pytest.raises(FsrlError, match="load it on its own SAE"):
        SAEAdapter(sae).load_from_pretrained_adapter(tmp_path)


def test_the_same_sae_from_elsewhere_or_in_another_dtype_is_the_same(tmp_path):
    adapter = train(SAEAdapter(make_sae(), release="hub", sae_id="a"))
    adapter.save_adapter(tmp_path)
    SAEAdapter(make_sae(), release="folder", sae_id="b").load_from_pretrained_adapter(tmp_path)
    moved = SAEAdapter(make_sae()).to(torch.bfloat16)
    assert bits(moved.load_from_pretrained_adapter(tmp_path)) == bits(adapter)


@pytest.mark.parametrize("name", ["adapter.json", "adapter.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    SAEAdapter(make_sae()).save_adapter(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FsrlError, match=f"{name} is missing"):
        SAEAdapter(make_sae()).load_from_pretrained_adapter(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"kind": "fsrl SAE adapter"}', '{"kind": "other"}'])
def test_a_foreign_or_broken_json_is_refused(tmp_path, content):
    SAEAdapter(make_sae()).save_adapter(tmp_path)
    (tmp_path / "adapter.json").write_text(content)
    with pytest.raises(FsrlError, match=r"adapter\.json: (broken file|not written by save_adapter)"):
        SAEAdapter(make_sae()).load_from_pretrained_adapter(tmp_path)


def test_two_files_that_do_not_belong_together_are_refused(tmp_path):
    train(SAEAdapter(make_sae()), 1).save_adapter(tmp_path / "a")
    train(SAEAdapter(make_sae()), 2).save_adapter(tmp_path / "b")
    (tmp_path / "a/adapter.json").replace(tmp_path / "b/adapter.json")
    with pytest.raises(FsrlError, match="do not belong together"):
        SAEAdapter(make_sae()).load_from_pretrained_adapter(tmp_path / "b")


@pytest.mark.parametrize("stored", [{"A": torch.zeros(2, 2)}, None])
def test_tensors_that_are_not_the_settings_are_refused(tmp_path, stored):
    adapter = train(SAEAdapter(make_sae(), **LORA))
    adapter.save_adapter(tmp_path)
    path = tmp_path / "adapter.safetensors"
    save_file(stored, path) if stored else path.write_bytes(path.read_bytes()[:100])
    facts = json.loads((tmp_path / "adapter.json").read_text())
    facts["tensors_sha256"] = hub_files.sha256(path)
    (tmp_path / "adapter.json").write_text(json.dumps(facts))
    before = bits(adapter)
    with pytest.raises(FsrlError, match="not those of these settings|broken file"):
        adapter.load_from_pretrained_adapter(tmp_path)
    assert bits(adapter) == before


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_a_save_that_fails_leaves_the_old_adapter(tmp_path, monkeypatch, moment):
    old = train(SAEAdapter(make_sae()), 1)
    old.save_adapter(tmp_path)

    def failing(tensors, path):
        if moment != "before":
            save_file(tensors, path)
        if moment == "half":
            path.write_bytes(path.read_bytes()[:50])
        raise KeyboardInterrupt

    monkeypatch.setattr(adapter_files, "save_file", failing)
    with pytest.raises(KeyboardInterrupt):
        train(SAEAdapter(make_sae()), 2).save_adapter(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter.safetensors", "adapter.json"}
    assert bits(SAEAdapter(make_sae()).load_from_pretrained_adapter(tmp_path)) == bits(old)
