"""Rows over heads and neurons as the block adds them to the stream: the model's own pass is the oracle."""

import pytest
import torch
from safetensors.torch import load_file

from fsrl.errors import FsrlError
from fsrl.models import dictionaries, reading, writing
from fsrl.models.sources import ModelSource, SAESource
from tests.fixtures import architectures

WIDTHS = {"attn.hook_z": 16, "mlp.hook_post": 32}
WRITTEN = {"attn.hook_z": "hook_attn_out", "mlp.hook_post": "hook_mlp_out"}
# Of transformers' own tensors.
NORMS = {"attn.hook_z": "post_attention_layernorm", "mlp.hook_post": "post_feedforward_layernorm"}
LAYER, TOKENS, STEP = 1, torch.tensor([[0, 5, 9, 17]]), 1e-3


@pytest.fixture(scope="module", params=["gemma2", "gemma3"])
def gemma(request, tmp_path_factory):
    """A model with a norm after attention and MLP, and its tensors as transformers stores them."""
    folder = tmp_path_factory.mktemp("models") / request.param
    architectures.write(request.param, folder)
    return reading.read_model(ModelSource(folder=str(folder))), load_file(folder / "model.safetensors")


def drawn(count, width):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0))


def run(bridge, hook, written, add=None):
    """What the block writes [positions, d_model], with `add` at the last position of `hook`."""
    seen = {}

    def move(value, hook):
        flat = value.flatten(2).clone()
        flat[0, -1] += add
        return flat.view(value.shape)

    hooks = [(written, lambda value, hook: seen.update(out=value.detach()[0]))]
    with torch.no_grad():
        bridge.run_with_hooks(TOKENS, fwd_hooks=hooks + ([] if add is None else [(hook, move)]))
    return seen["out"]


@pytest.mark.parametrize("point", WIDTHS)
def test_a_row_is_what_the_stream_gets_times_the_norms_denominator(gemma, point):
    """Along these directions the denominator stands still to first order: the model itself holds it."""
    model, stored = gemma
    hook, written = f"blocks.{LAYER}.{point}", f"blocks.{LAYER}.{WRITTEN[point]}"
    matrix = model.bridge.W_O if "hook_z" in point else model.bridge.W_out
    matrix = matrix[LAYER].detach().reshape(WIDTHS[point], -1)
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(TOKENS, names_filter=[hook])
    before = cache[hook].flatten(2)[0, -1] @ matrix
    rows = drawn(4, WIDTHS[point])
    along = rows @ matrix @ before
    rows = rows[1:] - (along[1:] / along[0])[:, None] * rows[0]
    mapped, said = writing.in_stream(rows, model.bridge, hook, "rows")
    plain = run(model.bridge, hook, written)
    for row, expected in zip(rows, mapped, strict=True):
        step = STEP * float(before.norm() / (row @ matrix).norm())
        ahead, back = (run(model.bridge, hook, written, sign * step * row) for sign in (1, -1))
        changed = (ahead - back) / (2 * step)
        assert torch.equal(ahead[:-1], plain[:-1])
        found = changed[-1] * (before.square().mean() + 1e-6).sqrt()  # its eps
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))
    gain = 1 + stored[f"model.layers.{LAYER}.{NORMS[point]}.weight"]
    torch.testing.assert_close(mapped, rows @ matrix * gain)
    assert "times the gain of ln" in said and "denominator" in said and "RMSNorm" in said


@pytest.mark.parametrize("point", ["hook_attn_out", "hook_mlp_out", "hook_resid_mid"])
def test_what_comes_after_the_norm_is_added_as_it_is(gemma, point):
    """hook_attn_out and hook_mlp_out hold what the stream gets, and so need no mapping."""
    model, _ = gemma
    rows = drawn(3, 16)
    mapped, said = writing.in_stream(rows, model.bridge, f"blocks.{LAYER}.{point}", "rows")
    assert mapped is rows and said == "none"
    names = [f"blocks.{LAYER}.hook_{name}" for name in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(TOKENS, names_filter=names)
    before, attention, mlp, after = (cache[name] for name in names)
    torch.testing.assert_close(before + attention + mlp, after)


def test_neurons_go_through_the_norm_too(gemma):
    model, stored = gemma
    for layer, decoder in enumerate(dictionaries.decoders(SAESource(neurons=2), model, study="tiny")):
        gain = 1 + stored[f"model.layers.{layer}.{NORMS['mlp.hook_post']}.weight"]
        rows = stored[f"model.layers.{layer}.mlp.down_proj.weight"].T
        torch.testing.assert_close(decoder.W_dec, rows * gain)
        assert decoder.metadata["decoder_mapping"].startswith("rows of W_out, times the gain of ln2_post")


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "olmo2"])
def test_a_block_without_such_norms_or_with_others_is_mapped_or_refused(name, tmp_path):
    """Whatever TransformerLens calls its parts: what is given is what the model does."""
    architectures.write(name, tmp_path / "model")
    model = reading.read_model(ModelSource(folder=str(tmp_path / "model")))
    hook, written = f"blocks.{LAYER}.attn.hook_z", f"blocks.{LAYER}.hook_attn_out"
    rows = drawn(1, 16)
    if name == "olmo2":
        with pytest.raises(FsrlError, match="does more to blocks.1.attn.hook_z than W_O and a norm"):
            writing.in_stream(rows, model.bridge, hook, "rows")
        return
    mapped, said = writing.in_stream(rows, model.bridge, hook, "rows")
    changed = run(model.bridge, hook, written, rows[0]) - run(model.bridge, hook, written)
    torch.testing.assert_close(changed[-1:], mapped, rtol=1e-4, atol=1e-5)
    assert said == "through W_O into the residual stream"


def test_a_block_that_scales_what_it_adds_is_refused(tmp_path):
    architectures.write("granite", tmp_path / "model", residual_multiplier=0.5)
    model = reading.read_model(ModelSource(folder=str(tmp_path / "model")))
    with pytest.raises(FsrlError, match="rows: block 1 of the model does more to blocks.1.attn.hook_z"):
        writing.in_stream(drawn(1, 16), model.bridge, "blocks.1.attn.hook_z", "rows")
