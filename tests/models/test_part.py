"""A large model read in part: the same W_U, head, tokens and directions as from the whole, in less memory."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from fsrl.errors import FsrlError
from fsrl.models import export, part, reading
from fsrl.models.sources import ModelSource
from fsrl.weights import columns, pages
from tests.fixtures import architectures, vocabularies

TRAINED = {"counts_path": None, "min_count": 1, "draws": 1000, "seed": 0}
READABLE = [name for name in architectures.SETTINGS if name not in architectures.POST_NORM]


def both(folder, monkeypatch, blocks=1):
    """The model, whole and in part."""
    source = ModelSource(folder=str(folder))
    whole = reading.read_model(source, blocks=blocks)
    monkeypatch.setattr(reading, "SMALL", 1)
    return whole, reading.read_model(source, blocks=blocks)


@pytest.mark.parametrize("name", READABLE)
def test_a_part_says_the_same_as_the_whole_model(name, tmp_path, monkeypatch):
    # Tokens, and rows after them that no token owns.
    tokenizer = vocabularies.byte_level()
    architectures.write(name, tmp_path / name, tokenizer, vocab_size=len(tokenizer) + 11)
    whole, end = both(tmp_path / name, monkeypatch)
    assert len(whole.bridge.blocks) == architectures.N_LAYERS and len(end.bridge.blocks) == 1
    assert end.bridge.W_U.shape[1] == part.ROWS < end.d_vocab == whole.d_vocab
    assert whole.metadata["model_weights"].startswith("every parameter read")
    said = {"model_weights": "W_U, norm and block 0 read from model.safetensors"}
    assert end.metadata == whole.metadata | said
    assert torch.equal(end.W_U, whole.W_U) and torch.equal(end.padding, whole.padding)
    assert end.padding.shape == (architectures.D_MODEL, 11) and end.d_model == whole.d_model
    assert torch.equal(end.head.gain, whole.head.gain) and end.head.metadata() == whole.head.metadata()
    assert end.tokens == whole.tokens and end.n_layers == whole.n_layers == architectures.N_LAYERS
    made, expected = (export.unembedding(model, **TRAINED) for model in (end, whole))
    assert torch.equal(made.folded, expected.folded) and torch.equal(made.trained, expected.trained)
    assert made.metadata == expected.metadata | said


def test_of_a_model_that_sees_images_too_no_other_blocks_are_left_out(tmp_path, monkeypatch):
    architectures.write_seeing(tmp_path / "seeing")
    whole, end = both(tmp_path / "seeing", monkeypatch)
    assert len(end.bridge.blocks) == 1 < len(whole.bridge.blocks)
    assert end.bridge.W_U.shape[1] == part.ROWS and torch.equal(end.W_U, whole.W_U)
    assert torch.equal(end.head.gain, whole.head.gain) and end.tokens == whole.tokens


def test_whoever_reads_more_gets_more(tmp_path, monkeypatch):
    architectures.write("llama", tmp_path / "llama")
    assert len(both(tmp_path / "llama", monkeypatch, blocks=2)[1].bridge.blocks) == 2
    model = reading.read_model(ModelSource(folder=str(tmp_path / "llama")))
    assert len(model.bridge.blocks) == 2 and model.bridge.W_U.shape[1] == model.d_vocab


def test_columns_are_those_of_the_file_whatever_the_tile(tmp_path, monkeypatch):
    rows = torch.randn(101, 16).bfloat16()
    save_file({"head": rows, "other": torch.randn(101, 16)}, tmp_path / "file.safetensors")
    monkeypatch.setattr(columns, "WHOLE", 0)
    for tile in (16, 16 * 7, 16 * 101):
        monkeypatch.setattr(columns, "TILE", tile)
        found = part.head([tmp_path / "file.safetensors"], rows[:5].T.float(), 101)
        assert found.name == "head"
        assert torch.equal(found.columns(0, 101), rows.float().T)
        assert torch.equal(found.columns(3, 90), rows[3:90].float().T)


def test_what_is_no_tensor_of_the_file_or_one_of_two_is_refused(tmp_path):
    rows, path = torch.randn(70, 16), tmp_path / "file.safetensors"
    save_file({"embedding": rows, "narrow": rows[:, :8].contiguous()}, path)
    with pytest.raises(FsrlError, match=r"file.safetensors: W_U .* \(of its shape: embedding\)"):
        part.head([path], 2 * rows[:5].T, 70)
    save_file({"embedding": rows, "head": rows.clone()}, path)
    assert part.head([path], rows[:5].T, 70).name == "embedding"
    other = rows.clone()
    other[69, 15] += 1
    save_file({"embedding": rows, "head": other}, path)
    with pytest.raises(FsrlError, match=r"embedding, head begin alike and differ"):
        part.head([path], rows[:5].T, 70)


def test_a_number_that_is_not_finite_is_named_beyond_the_first_rows_too(tmp_path, monkeypatch):
    architectures.write("llama", tmp_path / "llama")
    path = tmp_path / "llama/model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"][200, 3] = torch.nan
    save_file(tensors, path, {"format": "pt"})
    monkeypatch.setattr(reading, "SMALL", 1)
    model = reading.read_model(ModelSource(folder=str(tmp_path / "llama")), blocks=1)
    with pytest.raises(
        FsrlError, match=r"llama/model.safetensors: rows 0 to \d+ of lm_head.weight: nan at \[200, 3\]"
    ):
        export.unembedding(model, **TRAINED)


def test_a_vocabulary_of_another_size_than_the_config_s_is_refused(tmp_path, monkeypatch):
    architectures.write("llama", tmp_path / "llama")
    path = tmp_path / "llama/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 299}))
    monkeypatch.setattr(reading, "SMALL", 1)
    with pytest.raises(FsrlError, match=r"of another shape: (lm_head|model.embed_tokens).weight"):
        reading.read_model(ModelSource(folder=str(tmp_path / "llama")), blocks=1)


D_VOCAB, D_WIDE = 68_000, 1024
# In a process of its own, whose memory has no past. Imports are no part of what is measured.
EXPORT = """
import sys, threading
from fsrl.models import export, reading
from fsrl.models.sources import ModelSource
from fsrl.weights import matrices
import transformer_lens.model_bridge, transformers

def anonymous():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def watch():
    global highest
    while not done.wait(0.005):
        highest = max(highest, anonymous())

folder, reading.SMALL = sys.argv[1], int(sys.argv[2])
before, highest, done = anonymous(), 0, threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
model = reading.read_model(ModelSource(folder=folder), blocks=1)
made = export.unembedding(model, counts_path=None, min_count=1, draws=1000, seed=0, trained=False)
matrices.write_unembedding(matrices.identified_unembedding(made), folder + "/unembedding.safetensors")
done.set()
watcher.join()
print(highest - before)
"""


def wide(folder):
    """A Llama with W_E and W_U of their own, each large enough to be read in tiles."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"t{number}" for number in range(D_VOCAB - len(alphabet)))]
    made = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)
    kind, settings = architectures.SETTINGS["llama"]
    LlamaConfig(
        **{**settings, "vocab_size": D_VOCAB, "hidden_size": D_WIDE, "num_hidden_layers": 1}
    ).save_pretrained(folder)
    shapes = {
        "q_proj": (D_WIDE, D_WIDE),
        "k_proj": (D_WIDE, D_WIDE),
        "v_proj": (D_WIDE, D_WIDE),
        "o_proj": (D_WIDE, D_WIDE),
    }
    tensors = {
        f"model.layers.0.self_attn.{name}.weight": torch.randn(*shape) / 32 for name, shape in shapes.items()
    }
    tensors |= {
        f"model.layers.0.mlp.{name}.weight": torch.randn(32, D_WIDE) / 32 for name in ("gate_proj", "up_proj")
    }
    tensors["model.layers.0.mlp.down_proj.weight"] = torch.randn(D_WIDE, 32)
    norms = ("layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm")
    tensors |= {f"model.{name}.weight": torch.rand(D_WIDE) + 0.5 for name in norms}
    tensors |= {
        name: torch.randn(D_VOCAB, D_WIDE) for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    stored = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    return stored["lm_head.weight"], stored["model.norm.weight"]


@pytest.mark.skipif(not pages.TOLD, reason="the kernel does not say what lies in files")
@pytest.mark.slow
def test_no_matrix_of_the_vocabulary_is_held(tmp_path):
    rows, gain = wide(tmp_path)

    def held(small):
        command = [sys.executable, "-c", EXPORT, str(tmp_path), str(small)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout) / 2**10

    one = D_VOCAB * D_WIDE * 4 / 2**20
    # Whole, an embedding and W_U; in part neither (176 MiB of 266: the tokens, the block, tiles).
    assert held(2**40) > 2 * one
    assert held(1) < 0.9 * one
    with safe_open(tmp_path / "unembedding.safetensors", framework="pt") as opened:
        raw, folded = (opened.get_slice(name) for name in ("raw", "folded"))
        for first in (0, 30_000, D_VOCAB - 10):
            some = rows[first : first + 10].float().T
            assert torch.equal(raw[:, first : first + 10], some)
            assert torch.equal(folded[:, first : first + 10], gain.float()[:, None] * some)
