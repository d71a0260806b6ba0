"""Covariance of the residual stream, against Hugging Face's own hidden states and numpy's covariance."""

import numpy as np
import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.hooks import place_of, residual_hook
from fsrl.models import activations, checkpoint
from fsrl.weights import covariances
from tests.fixtures.tiny_study import TEXT

HOOKS = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.0.attn.hook_z"]
TEXT_OF_PASSAGES = "<|endoftext|>".join(TEXT * 3)
CONTEXT = 12


@pytest.fixture(scope="module")
def found(tiny_study):
    return activations.second_moments(
        tiny_study / "model", TEXT_OF_PASSAGES, HOOKS, context=CONTEXT, max_tokens=0, progress=False
    )


def hidden_states(folder, max_tokens=None):
    """Residuals before each block, all positions but 0, centred over d_model: float64 [n, d_model]."""
    from transformers import AutoTokenizer, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    end = tokenizer.bos_token_id
    stream = []
    for passage in TEXT * 3:
        stream += [end, *tokenizer(passage, add_special_tokens=False)["input_ids"]]
    stream = stream[:max_tokens]
    states = [[], []]
    for start in range(0, len(stream) - (CONTEXT - 1) + 1, CONTEXT - 1):
        window = torch.tensor([[end, *stream[start : start + CONTEXT - 1]]])
        with torch.no_grad():
            hidden = model(input_ids=window, output_hidden_states=True).hidden_states
        for layer in (0, 1):
            states[layer].append(hidden[layer][0, 1:].double().numpy())
    joined = [np.concatenate(parts) for parts in states]
    return [x - x.mean(axis=1, keepdims=True) for x in joined]


def test_covariance_against_hugging_face_and_numpy(found, tiny_study):
    before_0, before_1 = hidden_states(tiny_study / "model")
    assert found.metadata["positions"] == str(len(before_0))
    for hook, x in zip(HOOKS[:2], (before_0, before_1), strict=True):
        matrix = found.covariance[hook]
        assert matrix.dtype == torch.float64
        assert matrix.numpy() == pytest.approx(np.cov(x.T, ddof=0), rel=1e-3, abs=1e-6 * np.trace(matrix))
        assert torch.equal(matrix, matrix.T)
        assert matrix.sum(dim=1).abs().max() < 1e-6 * matrix.trace()  # nothing varies along (1, ..., 1)
    assert not torch.allclose(found.covariance[HOOKS[0]], found.covariance[HOOKS[1]], rtol=0.1)


def test_a_hook_outside_the_stream_stands_for_what_it_writes_to(found, tiny_study):
    # After block 0 the stream is what comes before block 1.
    torch.testing.assert_close(found.covariance["blocks.0.attn.hook_z"], found.covariance[HOOKS[1]])
    assert "blocks.0.hook_resid_post" in found.metadata["residual_hooks"]
    assert residual_hook("blocks.7.mlp.hook_post") == "blocks.7.hook_resid_post"
    assert residual_hook("blocks.7.hook_resid_mid") == "blocks.7.hook_resid_mid"
    assert residual_hook("hook_embed") == "blocks.0.hook_resid_pre"
    assert place_of("hook_embed") == place_of("blocks.0.hook_resid_pre")


def test_max_tokens_takes_the_first_ones(tiny_study):
    settings = {"context": CONTEXT, "max_tokens": 50, "progress": False}
    found = activations.second_moments(tiny_study / "model", TEXT_OF_PASSAGES, HOOKS[:1], **settings)
    (x, _) = hidden_states(tiny_study / "model", max_tokens=50)
    assert found.metadata["positions"] == str(len(x)) == "44"
    oracle = np.cov(x.T, ddof=0)
    assert found.covariance[HOOKS[0]].numpy() == pytest.approx(oracle, rel=1e-3, abs=1e-6 * np.trace(oracle))


def test_what_is_written_is_read(found, tmp_path):
    covariances.write(found, tmp_path / "c.safetensors")
    again = covariances.read(tmp_path / "c.safetensors")
    assert again.metadata == found.metadata
    assert list(again.covariance) == sorted(HOOKS)
    assert all(torch.equal(again.covariance[hook], found.covariance[hook]) for hook in HOOKS)
    covariances.write(again, tmp_path / "d.safetensors")
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "d.safetensors").read_bytes()


def test_broken_files_are_refused(tmp_path):
    with pytest.raises(FsrlError, match=r"no such file \(covariances\); build it first"):
        covariances.read(tmp_path / "absent")
    (tmp_path / "broken").write_bytes(b"no safetensors")
    with pytest.raises(FsrlError, match="broken file"):
        covariances.read(tmp_path / "broken")
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "other")
    with pytest.raises(FsrlError, match="not an fsrl covariances file"):
        covariances.read(tmp_path / "other")


@pytest.mark.parametrize(
    ("hook", "text", "settings", "message"),
    [
        ("ln_final.hook_scale", "a", {}, "'ln_final.hook_scale' is no hook of a block"),
        ("blocks.2.hook_resid_pre", "a", {}, "has no blocks.2.hook_resid_pre"),
        ("blocks.2.attn.hook_z", "a", {}, r"has no blocks.2.hook_resid_post \(for blocks.2.attn.hook_z\)"),
        (HOOKS[0], "a", {}, "2 tokens do not fill a window of 12"),
        (HOOKS[0], "a", {"context": 1}, "context is 1 .*must lie between 2 and"),
        (HOOKS[0], "a", {"context": 10**6}, "context is 1000000"),
        (HOOKS[0], "a", {"max_tokens": -1}, "max_tokens -1"),
    ],
)
def test_what_cannot_be_done_is_refused(tiny_study, hook, text, settings, message):
    settings = {"context": CONTEXT, "max_tokens": 0, "progress": False} | settings
    with pytest.raises(FsrlError, match=message):
        activations.second_moments(tiny_study / "model", text, [hook], **settings)


def test_a_missing_model_is_refused(tmp_path):
    with pytest.raises(FsrlError, match=r"config.json is missing; put the file there"):
        activations.second_moments(tmp_path, "a", HOOKS, context=12, max_tokens=0)


def test_sums_do_not_cancel_where_the_mean_is_large():
    x = torch.randn(1000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1e6
    sums = activations._Sums()
    for part in x.split(137):
        sums.add(part)
    assert sums.covariance().numpy() == pytest.approx(np.cov(x.numpy().T, ddof=0), rel=1e-6, abs=1e-8)


def test_the_last_block_is_read_and_no_logits_are_computed(tiny_study):
    bridge = checkpoint.boot(tiny_study / "model", "cpu")
    names = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"]
    batch = torch.arange(1, 9)[None]
    with torch.no_grad():
        logits, expected = bridge.run_with_cache(batch, names_filter=names)
    computed = []
    handle = bridge.unembed.register_forward_hook(lambda *_: computed.append(True))
    held = activations._held(bridge, batch, names)
    assert not computed
    for name in names:
        assert torch.equal(held[name], expected[name])
    # The model is as before: it computes its logits again, and holds nothing of ours.
    with torch.no_grad():
        assert torch.equal(bridge(batch), logits)
    assert computed
    handle.remove()
