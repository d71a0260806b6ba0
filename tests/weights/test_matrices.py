"""Unembedding, decoder and their views: worked examples, files, and every refusal with its place."""

import dataclasses
import math
import os
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from fsrl.errors import FsrlError
from fsrl.weights import files as weight_files
from fsrl.weights import matrices as weights


def unembedding(**changes):
    fields = {
        "folded": torch.tensor([[3.0, 0.0, -3.0, 9.0], [0.0, 4.0, -4.0, 8.0]]),
        "raw": torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]),
        "tokens": ("a", "Ġthe", "Ã©", '"'),
        "counts": torch.tensor([100, 5000, 99, 0]),
        "trained": torch.tensor([True, True, True, False]),
        "metadata": {"study": "test", "revision": "abc"},
    }
    return weights.Unembedding(**(fields | changes))


def decoder(**changes):
    fields = {
        "W_dec": torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]]),
        "log10_density": torch.tensor([-2.0, -10.0, -3.5]),
        "hook": "blocks.0.hook_resid_pre",
        "layer": 0,
        "sae": "blocks.0.hook_resid_pre",
        "metadata": {"study": "test"},
    }
    return weights.Decoder(**(fields | changes))


def assert_equal(found, expected):
    for field in dataclasses.fields(expected):
        value = getattr(expected, field.name)
        if isinstance(value, torch.Tensor):
            assert getattr(found, field.name).dtype == value.dtype
            assert torch.equal(getattr(found, field.name), value), field.name
        else:
            assert getattr(found, field.name) == value, field.name


@pytest.mark.parametrize("counts", [torch.tensor([1, 2, 3, 4]), None])
def test_unembedding_survives_its_file(tmp_path, counts):
    path = tmp_path / "new folder" / "unembedding.safetensors"
    original = unembedding(counts=counts)
    weights.write_unembedding(original, path)
    assert_equal(weights.read_unembedding(path), original)


@pytest.mark.parametrize("density", [torch.tensor([-1.0, -2.0, -3.0]), None])
def test_decoder_survives_its_file(tmp_path, density):
    path = tmp_path / "decoder.safetensors"
    original = decoder(log10_density=density)
    weights.write_decoder(original, path)
    assert_equal(weights.read_decoder(path), original)


def test_same_content_gives_same_bytes(tmp_path):
    paths = [tmp_path / f"{number}.safetensors" for number in range(8)]
    for path in paths:
        weights.write_unembedding(unembedding(), path)
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.mark.parametrize("matrix", [torch.arange(8.0).view(2, 4), torch.arange(8.0).view(4, 2).T])
def test_folded_and_raw_may_share_memory_in_any_layout(tmp_path, matrix):
    weights.write_unembedding(unembedding(folded=matrix, raw=matrix), tmp_path / "u")
    assert torch.equal(weights.read_unembedding(tmp_path / "u").raw, matrix)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "decoder.safetensors"
    weights.write_decoder(decoder(), path)
    before = path.read_bytes()

    def broken(tensor):
        yield b"half of it"
        raise OSError("disk full")

    monkeypatch.setattr(weight_files, "_bytes", broken)
    with pytest.raises(OSError, match="disk full"):
        weights.write_decoder(decoder(layer=3), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("read", [weights.read_decoder, weights.read_unembedding])
def test_missing_broken_and_foreign_files_are_refused(tmp_path, read):
    with pytest.raises(FsrlError, match="absent.safetensors: no such"):
        read(tmp_path / "absent.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not safetensors")
    with pytest.raises(FsrlError, match="broken.safetensors: broken file"):
        read(broken)
    weights.write_decoder(decoder(), tmp_path / "decoder")
    whole = (tmp_path / "decoder").read_bytes()
    broken.write_bytes(whole[:-5])
    with pytest.raises(FsrlError, match="broken.safetensors: broken file"):
        read(broken)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"W_dec": torch.ones(2, 2)}, foreign)
    with pytest.raises(FsrlError, match="foreign.safetensors: not an fsrl"):
        read(foreign)


def test_one_kind_of_file_is_not_read_as_the_other(tmp_path):
    weights.write_decoder(decoder(), tmp_path / "decoder")
    with pytest.raises(FsrlError, match="not an fsrl unembedding"):
        weights.read_unembedding(tmp_path / "decoder")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folded": torch.ones(2, 3)}, r"folded W_U: shape is \[2, 3\], expected \[any, 4\]"),
        ({"raw": torch.ones(3, 4)}, r"folded W_U is \[2, 4\] but raw W_U is \[3, 4\]"),
        ({"raw": torch.ones(2, 4).half()}, "raw W_U: dtype is torch.float16, expected torch.float32"),
        ({"folded": torch.full((2, 4), math.nan)}, r"folded W_U: nan at \[0, 0\]"),
        ({"counts": torch.tensor([1, 2])}, r"token counts: shape is \[2\], expected \[4\]"),
        ({"counts": torch.tensor([1, 2, -3, 4])}, r"token counts: negative at \[2\]"),
        ({"metadata": {"layers": 6}}, "unembedding: metadata 'layers' is 6"),
    ],
)
def test_bad_unembeddings_are_refused(changes, message):
    with pytest.raises(FsrlError, match=message):
        unembedding(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W_dec": torch.ones(3)}, r"W_dec: shape is \[3\], expected \[any, any\]"),
        ({"W_dec": torch.ones(0, 2)}, "not empty"),
        ({"W_dec": torch.tensor([[0.0, 1.0], [math.inf, 0.0]])}, r"W_dec: inf at \[1, 0\]"),
        ({"log10_density": torch.zeros(2)}, r"log10_density: shape is \[2\], expected \[3\]"),
        ({"log10_density": torch.tensor([0.0, -math.inf, 0.0])}, r"log10_density: -inf at \[1\]"),
    ],
)
def test_bad_decoders_are_refused(changes, message):
    with pytest.raises(FsrlError, match=message):
        decoder(**changes)


def test_main_view_is_the_matrices_as_they_are():
    view = weights.view(decoder(), unembedding())
    assert torch.equal(view.W_dec, decoder().W_dec)
    assert torch.equal(view.W_U, unembedding().folded)
    assert view.token_ids.tolist() == [0, 1, 2, 3]


def test_raw_and_trained_views():
    view = weights.view(decoder(), unembedding(), w_u="raw", tokens="trained")
    assert view.token_ids.tolist() == [0, 1, 2]
    assert torch.equal(view.W_U, unembedding().raw[:, :3])


def test_cosine_view_worked_example():
    # Over the three kept tokens the mean is 0, so the columns (3, 0), (0, 4), (-3, -4) are only scaled.
    view = weights.view(decoder(), unembedding(), tokens="trained", cosine=True)
    expected = torch.tensor([[1.0, 0.0, -0.6], [0.0, 1.0, -0.8]])
    torch.testing.assert_close(view.W_U, expected)
    torch.testing.assert_close(view.W_dec, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]]))
    assert view.W_U.dtype == view.W_dec.dtype == torch.float32


def test_cosine_view_centres_before_it_normalises():
    shifted = unembedding(folded=unembedding().folded + torch.tensor([[7.0], [-2.0]]))
    plain, _ = weights.view_unembedding(unembedding(), cosine=True)
    moved, _ = weights.view_unembedding(shifted, cosine=True)
    torch.testing.assert_close(moved, plain)
    torch.testing.assert_close(plain.norm(dim=0), torch.ones(4))


def test_view_unembedding_agrees_with_view():
    settings = {"w_u": "raw", "tokens": "all", "cosine": True}
    matrix, token_ids = weights.view_unembedding(unembedding(), **settings)
    view = weights.view(decoder(), unembedding(), **settings)
    assert torch.equal(view.W_U, matrix)
    assert torch.equal(view.token_ids, token_ids)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"w_u": "fold"}, "w_u is 'fold'; choose folded or raw"),
        ({"tokens": "some"}, "tokens is 'some'; choose all or trained"),
    ],
)
def test_bad_view_settings_are_refused(settings, message):
    with pytest.raises(FsrlError, match=message):
        weights.view(decoder(), unembedding(), **settings)


@pytest.mark.parametrize(
    ("trained", "message"),
    [
        (None, "undertrained tokens are unknown; use a view with tokens: all"),
        (torch.zeros(4).bool(), "no token"),
    ],
)
def test_a_trained_view_without_trained_tokens_is_refused(trained, message):
    with pytest.raises(FsrlError, match=message):
        weights.view(decoder(), unembedding(trained=trained), tokens="trained")


def test_a_file_that_cannot_be_written_whole_leaves_nothing(tmp_path):
    """A full disk, as a limit on the size of files that the operating system enforces."""
    script = (
        "import resource, signal, sys, torch; from fsrl.weights import matrices as weights\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "big = weights.Decoder(torch.ones(100, 100), None, 'blocks.0.hook_z', 0, 'big', {})\n"
        "weights.write_decoder(big, sys.argv[1])\n"
    )
    path = tmp_path / "decoder.safetensors"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert done.returncode != 0
    assert re.search(r"FsrlError: .*decoder.safetensors: cannot be written .*make room", done.stderr), (
        done.stderr
    )
    assert list(tmp_path.iterdir()) == []


def test_a_token_without_direction_has_no_cosine():
    folded = torch.tensor([[3.0, 1.0, 2.0, 2.0], [1.0, 3.0, 2.0, 2.0]])
    with pytest.raises(FsrlError, match="token 2 lies at the vocabulary's mean"):
        weights.view_unembedding(unembedding(folded=folded), cosine=True)


def test_a_decoder_of_another_model_is_refused():
    with pytest.raises(FsrlError, match="d_model is 3 but the model's is 2"):
        weights.view(decoder(W_dec=torch.ones(3, 3)), unembedding())
