"""Folding by the kind of the final norm, against the models' own logits."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.models import checkpoint, export, reading
from fsrl.models.head import read_head
from fsrl.models.sources import ModelSource
from tests.fixtures import architectures

MODELS = [name for name in architectures.SETTINGS if name not in architectures.POST_NORM]
# What each model's config and source in transformers say; LayerNorm as a rule, with its weight as the gain.
RMS = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3", "granite", "olmo2")
OFFSET = ("gemma", "gemma2", "gemma3", "nemotron")
SCALES, CAPS = {"granite": 1 / 8}, {"gemma2": 3.0}


@pytest.fixture(scope="module", params=MODELS)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    own = architectures.write(request.param, folder)
    return request.param, own, reading.read_model(ModelSource(folder=str(folder)))


def logits_with(own, norm, stream=None):
    """The model's own logits [position, d_vocab], and what its norm reads (`stream`, if one is given)."""
    seen = {}

    def read(module, given):
        seen["x"] = given[0].detach()
        return None if stream is None else (stream, *given[1:])

    handle = norm.register_forward_pre_hook(read)
    with torch.no_grad():
        logits = own(torch.tensor([[3, 14, 15, 92, 65]])).logits[0]
    handle.remove()
    return logits, seen["x"]


def test_what_is_added_at_the_end_of_the_stream_changes_the_models_own_logits_by_its_weights(case):
    """Another stream of the same scale stands for the norm's scale held: the model itself does the rest."""
    name, own, model = case
    own = own.double().eval()
    norm = architectures.final_norm(own)
    plain, x = logits_with(own, norm)
    centre = (lambda z: z) if name in RMS else (lambda z: z - z.mean(-1, keepdim=True))
    size = centre(x).square().mean(-1, keepdim=True)
    other = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1)) + 0.5
    other = other * (size / centre(other).square().mean(-1, keepdim=True)).sqrt()
    moved, _ = logits_with(own, norm, other)
    if cap := CAPS.get(name):
        plain, moved = (cap * torch.atanh(logits / cap) for logits in (plain, moved))
    # OLMo's norm has nothing of its own, and takes torch's.
    eps = next((getattr(norm, key) for key in ("eps", "variance_epsilon") if hasattr(norm, key)), 1e-5)
    W_U, head = model.W_U.double(), model.head
    folded = export.fold(W_U, head.gain.double(), head.norm, head.scale)
    expected = ((other - x) / (size + eps).sqrt() @ folded)[0]
    # RMSNorms, Nemotron's norm and OLMo's compute in float32, whatever their input.
    atol = 2e-4 if name in (*RMS, *OFFSET, "olmo") else 1e-9
    assert expected.abs().max() > 0.1
    torch.testing.assert_close((moved - plain)[:, : W_U.shape[1]], expected, rtol=0, atol=atol)


def test_the_kind_is_found_and_said(case):
    name, _, model = case
    head = model.head
    assert head.norm == ("RMSNorm" if name in RMS else "LayerNorm")
    assert head.offset == (name in OFFSET)
    assert (head.scale, head.cap) == (SCALES.get(name, 1.0), CAPS.get(name))
    said = head.metadata()
    processing, raw = said["W_U_processing"].split("; ")
    assert raw == "raw: as stored" and processing.startswith("folded: ln_f.weight folded in")
    assert ("centred over d_model" in processing) == (name not in RMS)
    assert ("as 1 + w" in processing) == (name in OFFSET)
    assert ("times the logit scale 0.125" in processing) == ("logit_scale" in said) == (name in SCALES)
    assert said.get("logit_soft_cap", "").startswith("3; ") == (name in CAPS)


def test_a_model_in_compatibility_mode_has_the_same_logit_weights(case):
    """TransformerLens folds and centres over the vocabulary, of which only the mean is lost."""
    name, _, model = case
    folded = export.fold(model.W_U, model.head.gain, model.head.norm, model.head.scale)
    bridge = reading.load_model(model.source.folder)
    head = read_head(bridge, name)
    W_U = bridge.W_U.detach()[:, : folded.shape[1]]
    difference = export.fold(W_U, head.gain, head.norm, head.scale) - folded
    difference -= difference.mean(1, keepdim=True)
    assert difference.abs().max() < 1e-5 * folded.abs().max()


@pytest.mark.parametrize("name", architectures.POST_NORM)
def test_a_model_without_a_final_norm_is_refused(name, tmp_path):
    architectures.write(name, tmp_path / name)
    with pytest.raises(
        FsrlError, match=rf"{name}: TransformerLens finds no final norm in \w+; logit weights"
    ):
        reading.read_model(ModelSource(folder=str(tmp_path / name)))


@pytest.fixture
def bridge(tiny_study):
    return checkpoint.boot(tiny_study / "model", "cpu")


def test_a_head_that_computes_something_else_is_refused(bridge):
    handle = bridge.unembed.register_forward_hook(lambda module, given, out: out + out.square())
    with pytest.raises(FsrlError, match="tiny: the logits are not what the final norm and W_U give"):
        read_head(bridge, "tiny")
    handle.remove()
    assert read_head(bridge, "tiny").norm == "LayerNorm"


def test_a_norm_that_reads_something_else_than_the_stream_is_refused(bridge):
    bridge.cfg.n_layers = 1
    with pytest.raises(FsrlError, match="tiny: the final norm does not read the end of the residual stream"):
        read_head(bridge, "tiny")


def test_a_norm_of_another_kind_is_refused(bridge):
    class Sign(torch.nn.Module):
        def forward(self, x):
            return x.sign()

    model = SimpleNamespace(ln_final=Sign(), W_U=bridge.W_U)
    with pytest.raises(FsrlError, match=r"the final norm \(Sign\) is neither a LayerNorm nor an RMSNorm"):
        read_head(model, "tiny")


def test_the_bridge_gives_the_models_own_logits(case):
    _, own, model = case
    tokens = torch.tensor([[3, 14, 15, 92, 65]])
    with torch.no_grad():
        torch.testing.assert_close(model.bridge(tokens), own.float()(tokens).logits, rtol=0, atol=1e-5)


def test_another_computation_in_the_bridge_is_refused(tmp_path, monkeypatch):
    from transformer_lens.model_bridge import TransformerBridge

    architectures.write("llama", tmp_path / "llama")
    whole = TransformerBridge.forward
    monkeypatch.setattr(TransformerBridge, "forward", lambda self, *a, **k: whole(self, *a, **k) * 1.01)
    with pytest.raises(FsrlError, match="TransformerLens computes other logits than transformers, off by"):
        checkpoint.boot(tmp_path / "llama", "cpu")


def test_fold_by_hand():
    W_U, gain = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 2.0])
    # gain 1 and 2: rows [1, 2] and [6, 8]; less their mean over d_model [3.5, 5] where a LayerNorm centres
    assert torch.equal(export.fold(W_U, gain), torch.tensor([[-2.5, -3.0], [2.5, 3.0]]))
    assert torch.equal(export.fold(W_U, gain, "RMSNorm", 0.5), torch.tensor([[0.5, 1.0], [3.0, 4.0]]))
    assert torch.equal(export.fold(W_U, None, "none"), W_U)


@pytest.mark.parametrize(
    ("gain", "norm"), [(None, "LayerNorm"), (torch.ones(2), "none"), (torch.ones(2), "L")]
)
def test_fold_refuses_another_norm(gain, norm):
    with pytest.raises(FsrlError, match=f"fold: norm is '{norm}'; give LayerNorm or RMSNorm with a gain"):
        export.fold(torch.ones(2, 2), gain, norm)


@pytest.mark.parametrize(
    ("W_U", "gain", "message"),
    [
        ((4, 5), (5,), r"W_U has shape \[4, 5\], gain \[5\]"),
        ((4, 5), (4, 1), r"W_U has shape \[4, 5\], gain \[4, 1\]"),
        ((4, 5), (1,), r"W_U has shape \[4, 5\], gain \[1\]"),
        ((4, 5), (), r"W_U has shape \[4, 5\], gain \[\]"),
        ((4,), (4,), r"W_U has shape \[4\], gain \[4\]"),
        ((4,), None, r"W_U has shape \[4\], gain none"),
    ],
)
def test_fold_refuses_shapes_that_do_not_fit(W_U, gain, message):
    gain, norm = (None, "none") if gain is None else (torch.ones(gain), "RMSNorm")
    with pytest.raises(FsrlError, match=rf"^fold: {message}; give \[d_model, d_vocab\] and \[d_model\]$"):
        export.fold(torch.ones(W_U), gain, norm)


@given(st.integers(0, 99), st.floats(-5, 5))
def test_what_a_layer_norm_never_reads_has_no_logit_weights_and_an_rms_norm_reads_it(seed, shift):
    generator = torch.Generator().manual_seed(seed)
    W_U, gain, v = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((8, 5), (8,), (8,))
    )
    layer, rms = (export.fold(W_U, gain, norm) for norm in ("LayerNorm", "RMSNorm"))
    torch.testing.assert_close((v + shift) @ layer, v @ layer)
    torch.testing.assert_close((v + shift) @ rms - v @ rms, shift * (gain @ W_U))
