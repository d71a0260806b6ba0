"""Weights that are not in the files, or not the model's: refused by name, wherever a model is read."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from fsrl.errors import FsrlError
from fsrl.mini import export as mini_export
from fsrl.models import activations, checkpoint, reading
from fsrl.models.sources import ModelSource
from tests.fixtures import architectures, tiny_study

EMBEDDING, NORM = "transformer.wte.weight", "transformer.ln_f.weight"
BLOCK = "transformer.h.1.mlp.c_fc.weight"


@pytest.fixture
def folder(tiny_study, tmp_path):
    """A model that a test may damage."""
    return shutil.copytree(tiny_study / "model", tmp_path / "model")


def rewrite(folder, change):
    """Write the tensors of the model anew, as `change` has them."""
    path = folder / "model.safetensors"
    tensors = change(load_file(path))
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, {"format": "pt"})


def configure(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def read(folder):
    return reading.read_model(ModelSource(folder=str(folder)))


def renamed(before, after=""):
    return lambda tensors: {before + name.removeprefix(after): tensor for name, tensor in tensors.items()}


def with_(**tensors):
    return lambda stored: stored | {name.replace("__", "."): tensor for name, tensor in tensors.items()}


def without(*names):
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


@pytest.mark.parametrize(
    ("prefix", "remedy"),
    [
        ("_orig_mod.", r"save the one inside, model\._orig_mod\.save_pretrained\(folder\)"),
        ("module.", r"save the one inside, model\.module\.save_pretrained\(folder\)"),
        ("module._orig_mod.", r"save the one inside, model\.module\._orig_mod\.save_pretrained\(folder\)"),
        ("_fsdp_wrapped_module.", r"model\._fsdp_wrapped_module\.save_pretrained\(folder\)"),
        ("base_model.model.", r"merge it, model\.merge_and_unload\(\)\.save_pretrained\(folder\)"),
        ("model.", "config.json and the weights must come from one save_pretrained"),
    ],
)
def test_a_wrapped_model_is_refused_with_the_call_that_saves_the_one_inside(folder, prefix, remedy):
    rewrite(folder, renamed(prefix))
    names = rf"missing: lm_head.weight, .* more; unexpected: {prefix}transformer.h.0.attn.*; .*{remedy}$"
    with pytest.raises(
        FsrlError, match=rf"model.safetensors: not the weights of this GPT2LMHeadModel; {names}"
    ):
        read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(EMBEDDING), r"missing: lm_head.weight, transformer.wte.weight; config.json and"),
        (without(NORM), r"missing: transformer.ln_f.weight; config.json and"),
        (lambda tensors: {}, r"missing: lm_head.weight, transformer.h.0.attn.c_attn.bias and 2\d more"),
        (with_(foo__bar=torch.ones(2)), r"unexpected: foo.bar; config.json and"),
        (with_(transformer__h__1__attn__c_attn__lora_A__weight=torch.ones(2, 2)), "merge_and_unload"),
        (lambda t: t | {BLOCK: t[BLOCK].view(64, 16)}, r"c_fc.weight is \[64, 16\] \(the config wants"),
        (lambda t: t | {"lm_head.weight": torch.ones(7, 16)},
         r"lm_head.weight is \[7, 16\] and transformer.wte.weight, to which the config ties it, \[\d+, 16\]"),
        (lambda t: without(EMBEDDING)(t) | {"lm_head.weight": torch.ones(7, 16)}, "another shape: lm_head"),
        (with_(transformer__h__0__attention__bias=torch.ones(2)), r"unexpected: \S*h.0.attention.bias"),
        (lambda t: t | {BLOCK: t[BLOCK].to(torch.complex64)}, r"c_fc.weight holds complex numbers \(C64\)"),
        (lambda t: t | {BLOCK: t[BLOCK].to(torch.int8)}, r"mlp.c_fc.weight holds whole numbers \(I8\)"),
        (lambda t: t | {BLOCK: t[BLOCK] / t[BLOCK].sign().clamp(min=0)}, r"c_fc.weight: -inf at \["),
        (lambda t: t | {NORM: t[NORM] * torch.nan}, r"ln_f.weight: nan at \[0\]"),
        (lambda t: t | {NORM: t[NORM].double() * 1e300}, r"ln_f.weight: -?inf at \[0\]"),
        (lambda t: t | {"wte.weight": t[EMBEDDING]}, r"wte.weight and .*wte.weight are for one place"),
    ],
)  # fmt: skip
def test_what_would_be_made_up_or_passed_over_is_named(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(FsrlError, match=rf"^\S*model.safetensors: .*{message}"):
        read(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_layer": 3}, r"missing: transformer.h.2.attn.c_attn.bias, .* and 10 more"),
        ({"n_layer": 1}, r"unexpected: transformer.h.1.attn.c_attn.weight, .* and 9 more"),
        ({"vocab_size": 400}, r"of another shape: transformer.wte.weight is \[\d+, 16\] .*wants \[400, 16\]"),
        ({"n_embd": 32}, r"of another shape: .* and 26 more"),
        ({"n_positions": 64}, r"of another shape: transformer.wpe.weight is \[32, 16\] .*wants \[64, 16\]"),
        ({"tie_word_embeddings": False}, r"missing: lm_head.weight"),
        ({"quantization_config": {"quant_method": "fp8"}}, "config.json: the weights are quantised"),
        ({"n_head": 3}, r"config.json: cannot be read \(.*divisible.*\); give a model that"),
        ({"activation_function": "bogus"}, r"config.json: cannot be read \(unknown: 'bogus'\)"),
        ({"vocab_size": "many"}, r"config.json: cannot be read \(.*'vocab_size'.* int"),
        ({"model_type": "nobodys", "architectures": ["Nobodys"]}, r"config.json: cannot be read \(.*nobodys"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "config.json: an encoder-decoder"),
    ],
)
def test_a_config_of_another_model_is_refused(folder, settings, message):
    configure(folder, **settings)
    with pytest.raises(FsrlError, match=message):
        read(folder)


@pytest.mark.parametrize("text", ["[]", "{", "﻿{}", "\xff"])
def test_a_config_that_is_none_is_named(folder, text):
    (folder / "config.json").write_text(text, encoding="latin-1" if text == "\xff" else "utf-8")
    with pytest.raises(
        FsrlError, match=r"config.json: (holds no JSON object|cannot be read .*); put a whole one there"
    ):
        read(folder)


SMALL = ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "added_tokens.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xef\xbb\xbf{}", b"\x00\xff", b'{"a": '])
@pytest.mark.parametrize("name", SMALL)
def test_a_small_file_that_is_broken_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    fault = r"(holds no JSON object|cannot be read \(.*\)); put a whole one there"
    with pytest.raises(FsrlError, match=rf"^\S*{name}: {fault}"):
        read(folder)


def shard(folder):
    """The model in shards; their names."""
    from transformers import GPT2LMHeadModel

    own = GPT2LMHeadModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    own.save_pretrained(folder, max_shard_size="20KB")
    return sorted(path.name for path in folder.glob("model-*.safetensors"))


INDEX = "model.safetensors.index.json"


def index(change):
    def edit(folder, shards):
        path = folder / INDEX
        content = json.loads(path.read_text())
        change(content, shards)
        path.write_text(json.dumps(content))

    return edit


def cut(folder, shards):
    path = folder / shards[1]
    path.write_bytes(path.read_bytes()[:-10])


def first_only(content, shards):
    content["weight_map"] = {name: file for name, file in content["weight_map"].items() if file == shards[0]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"model-00002-of-\d+.safetensors: cannot be read"),
        (index(lambda content, _: content.pop("metadata")), rf"{INDEX}: has no object metadata; save"),
        (index(lambda content, _: content.update(metadata=None)), rf"{INDEX}: has no object metadata; save"),
        (index(first_only), rf"{INDEX}: not the weights of this GPT2LMHeadModel; missing: "),
    ],
    ids=["cut", "no metadata", "null", "omits shards"],
)
def test_of_shards_the_file_at_fault_is_named(folder, damage, message):
    damage(folder, shard(folder))
    with pytest.raises(FsrlError, match=rf"^\S*{message}"):
        read(folder)


@pytest.mark.parametrize(("name", "eps"), [("gpt2", "layer_norm_epsilon"), ("llama", "rms_norm_eps")])
def test_a_norm_with_a_large_eps_is_a_norm(tmp_path, name, eps):
    architectures.write(name, tmp_path / name, **{eps: 1.0})
    configure(tmp_path / name, quantization_config=None)
    assert read(tmp_path / name).head.norm == {"gpt2": "LayerNorm", "llama": "RMSNorm"}[name]


def test_another_activation_of_a_llama_is_the_config_s_fault(tmp_path):
    architectures.write("llama", tmp_path / "llama")
    configure(tmp_path / "llama", hidden_act="bogus")
    with pytest.raises(FsrlError, match=r"config.json: cannot be read \(unknown: 'bogus'\)"):
        read(tmp_path / "llama")
    configure(tmp_path / "llama", hidden_act="silu")
    rewrite(tmp_path / "llama", with_(model__layers__0__self_attn__attention__bias=torch.ones(2)))
    with pytest.raises(FsrlError, match=r"unexpected: model.layers.0.self_attn.attention.bias"):
        read(tmp_path / "llama")


def test_a_broken_tokenizer_is_not_blamed_on_the_weights(folder):
    (folder / "tokenizer.json").write_text("{}")
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    with pytest.raises(FsrlError, match=r"tokenizer.json: cannot be read"):
        read(folder)


@pytest.mark.parametrize(
    "change",
    [
        renamed("", after="transformer."),  # as openai's own gpt2 lies on the hub
        with_(lm_head__weight=torch.ones(0)),  # filled in below: a tied head, written all the same
        with_(transformer__h__0__attn__bias=torch.ones(1, 1, 32, 32, dtype=torch.bool),
              transformer__h__0__attn__masked_bias=torch.tensor(-1e4)),
    ],
    ids=["base model", "tied head", "masks"],
)  # fmt: skip
def test_other_layouts_of_the_same_weights_give_the_same_model(folder, change):
    expected = read(folder)

    def filled(tensors):
        found = change(tensors)
        return found | ({"lm_head.weight": tensors[EMBEDDING]} if "lm_head.weight" in found else {})

    rewrite(folder, filled)
    found = read(folder)
    for (name, tensor), (_, before) in zip(
        found.bridge.original_model.state_dict().items(),
        expected.bridge.original_model.state_dict().items(),
        strict=True,
    ):
        assert torch.equal(tensor, before), name
    assert torch.equal(found.W_U, expected.W_U)


def test_rotary_frequencies_of_old_checkpoints_are_left_aside(tmp_path):
    architectures.write("llama", tmp_path / "llama")
    rewrite(tmp_path / "llama", with_(model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(4)))
    assert read(tmp_path / "llama").head.norm == "RMSNorm"


READERS = {
    "load_model": lambda folder: reading.load_model(folder),
    "activations": lambda folder: activations.second_moments(
        folder, tiny_study.TEXT[0], [tiny_study.SAE_IDS[0]], context=8, max_tokens=0
    ),
    "mini": mini_export.read_model,
}


@pytest.mark.parametrize("name", READERS)
def test_everything_that_reads_a_model_checks_its_weights(folder, name):
    READERS[name](folder)
    rewrite(folder, without(NORM))
    with pytest.raises(FsrlError, match="missing: transformer.ln_f.weight"):
        READERS[name](folder)


def test_a_model_beside_an_adapter_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(FsrlError, match=r"holds an adapter .*merge_and_unload"):
        read(folder)


def test_transformers_says_nothing_beside_the_error_and_is_heard_again_after_it(folder, caplog):
    from transformers.utils import logging

    before = logging.get_verbosity()
    rewrite(folder, without(NORM))
    with pytest.raises(FsrlError):
        checkpoint.boot(folder, "cpu")
    assert not [record for record in caplog.records if record.name.startswith("transformers")]
    assert logging.get_verbosity() == before


def test_reading_a_model_prints_nothing_and_leaves_others_bars_alone(folder, capfd):
    from transformers.utils import logging

    logging.enable_progress_bar()
    read(folder)
    assert capfd.readouterr() == ("", "")
    for _ in logging.tqdm(range(2), desc="somebody's own"):
        pass
    assert "somebody's own: 100%" in capfd.readouterr().err


def test_what_no_block_asks_for_is_no_less_refused_where_blocks_are_left_out(tmp_path):
    architectures.write("llama", tmp_path / "llama")
    path = tmp_path / "llama/model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "model.layers.0.other": torch.ones(2)}, path, {"format": "pt"})
    with pytest.raises(FsrlError, match="unexpected: model.layers.0.other"):
        checkpoint.boot(tmp_path / "llama", "cpu", blocks=1)
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(FsrlError, match="missing: model.layers.0.mlp.up_proj.weight"):
        checkpoint.boot(tmp_path / "llama", "cpu", blocks=1)


@pytest.fixture
def started(monkeypatch):
    """Commands that would have been started: none is, whoever asks for it."""
    commands = []

    class Blocked(subprocess.Popen):
        def __init__(self, args, *others, **named):
            commands.append(args)
            raise OSError("no process is started here")

    monkeypatch.setattr(subprocess, "Popen", Blocked)
    return commands


@pytest.fixture
def seeing(tmp_path):
    """A model of images and texts whose processor cannot be made."""
    architectures.write_seeing(tmp_path / "seeing")
    return tmp_path / "seeing"


def test_transformer_lens_would_install_packages(started, seeing):
    """Why there is a guard; a version that does not may do without it."""
    from transformer_lens.model_bridge import TransformerBridge

    TransformerBridge.boot_transformers(str(seeing), device="cpu")
    [command] = started
    assert "install" in command and "torchvision" in command


def test_booting_a_model_starts_no_process(started, seeing):
    bridge = checkpoint.boot(seeing, "cpu")
    assert bridge.processor is None and not started
    assert bridge.cfg.architecture == "Gemma3ForConditionalGeneration"
    tokens = torch.tensor([[1, 2, 3]])
    assert bridge(tokens).shape == (1, 3, bridge.W_U.shape[1])


@pytest.mark.parametrize("command", ["pip install a", [sys.executable, "-m", "pip", "install", "a"]])
def test_an_installer_is_refused_before_it_starts(started, seeing, monkeypatch, command):
    """On whatever way a later TransformerLens comes to it, and though it swallows what goes wrong."""

    class Loading(checkpoint._Source):
        def from_pretrained(self, name, **given):
            try:
                subprocess.run(command, check=True)
            except Exception:
                return super().from_pretrained(name, **given)

    monkeypatch.setattr(checkpoint, "_Source", Loading)
    with pytest.raises(FsrlError, match=r"would have run '.*pip install a'.*fsrl installs nothing"):
        checkpoint.boot(seeing, "cpu")
    assert not started


def test_other_processes_start_while_a_model_boots(seeing, monkeypatch):
    class Loading(checkpoint._Source):
        def from_pretrained(self, name, **given):
            assert subprocess.run(["true"], check=True).returncode == 0
            return super().from_pretrained(name, **given)

    own = subprocess.Popen
    monkeypatch.setattr(checkpoint, "_Source", Loading)
    checkpoint.boot(seeing, "cpu")
    assert subprocess.Popen is own
