"""T of a text: the plain mean of what each site gives, its error, other models, and what is refused."""

import json

import pytest
import torch

from fsrl.effects import forward
from fsrl.errors import FsrlError
from fsrl.hooks import place_of
from fsrl.models import reading, windows
from fsrl.models.sources import ModelSource
from fsrl.transport import fit, reverse
from tests.fixtures import architectures
from tests.fixtures import tiny_study as tiny

TEXT = "<|endoftext|>".join(tiny.TEXT * 3)
HOOKS = [
    "blocks.0.hook_resid_pre",
    "blocks.1.hook_resid_mid",
    "blocks.0.attn.hook_z",
    "blocks.0.mlp.hook_post",
    "blocks.1.hook_resid_post",
]
SETTINGS = fit.Settings(TEXT, context=12, sites=8, seed=3)


@pytest.fixture(scope="module")
def model(tiny_study):
    return reading.read_model(ModelSource(folder=str(tiny_study / "model")))


@pytest.fixture(scope="module")
def found(model):
    return fit.fit(model, HOOKS, SETTINGS, progress=False)


def slowly(model, hook, settings=SETTINGS):
    """Twice [sites, d_model, d_model], one number at a time, in float32: ∂(normalised end times its
    scale)/∂x, and ∂x_end/∂x."""
    place, n = place_of(hook), len(model.bridge.blocks)
    assert place.layer <= n
    inputs = windows.windows(
        model.tokenizer, settings.text, context=settings.context, contexts=settings.sites // 2
    )
    contexts, positions = fit.choose_sites(len(inputs), settings.context, settings.sites, settings.seed)
    normed, plain = [], []
    for context, position in zip(contexts.tolist(), positions.tolist(), strict=True):
        found, x_end = reverse.jacobians(model.bridge, inputs[context], position, [place], rows=model.d_model)
        unit, _ = forward.normalise(x_end, model.bridge.cfg.eps)
        ones = torch.eye(model.d_model)
        N = ones - torch.ones_like(ones) / model.d_model - torch.outer(unit, unit) / model.d_model
        normed.append(N @ found[place])
        plain.append(found[place])
    return torch.stack(normed).double(), torch.stack(plain).double()


def test_it_is_the_mean_over_the_sites(model, found):
    model.bridge.requires_grad_(False)
    assert found.hooks == tuple(HOOKS) and found.T.dtype == torch.float32
    for hook in HOOKS:
        each, _ = slowly(model, hook)
        assert torch.allclose(found.at(hook).double(), each.mean(0), atol=1e-5)
        contexts, _ = fit.choose_sites(4, 12, 8, 3)
        first, second = (each[contexts % 2 == half].mean(0) for half in (0, 1))
        error = float((first - second).norm() / (2 * each.mean(0).norm()))
        assert json.loads(found.metadata["split_half_error"])[hook] == pytest.approx(error, abs=1e-5)
    # Of hooks that write to one place the matrix is one.
    assert not torch.equal(found.at(HOOKS[2]), found.at(HOOKS[3]))
    both = fit.fit(model, ["blocks.0.hook_resid_mid", "blocks.0.attn.hook_z"], SETTINGS, progress=False)
    assert torch.equal(both.T[0], both.T[1])


def test_at_the_outputs_of_blocks_the_mean_without_the_norm_is_kept(model, found):
    """Of `HOOKS` the neurons alone write there; the last block's output is the end itself."""
    model.bridge.requires_grad_(False)
    assert list(found.J) == [0] and found.J[0].dtype == torch.float32
    normed, plain = slowly(model, HOOKS[3])
    assert torch.allclose(found.J[0].double(), plain.mean(0), atol=1e-5)
    # Neither is T, nor is T the product of the means.
    assert not torch.allclose(found.J[0].double(), normed.mean(0), atol=1e-2)
    N = found.at("blocks.1.hook_resid_post")
    assert not torch.allclose(N @ found.J[0], found.at(HOOKS[3]), atol=1e-4)
    other = fit.fit(model, [HOOKS[0], HOOKS[1], HOOKS[4]], SETTINGS, progress=False)
    assert other.J == {}


def test_it_says_what_it_was_made_from(model, found):
    said = found.metadata
    assert (
        said["layers"] == "2"
        and said["method"] == "closed form"
        and said["position"] == "same"
        and said["sites"] == "8"
    )
    assert said["seed"] == "3" and said["model_sha256"] == model.metadata["model_sha256"]
    assert said["windows"] == "4 of 12 tokens, spread over the text" and len(said["text_sha256"]) == 64


def test_the_same_seed_gives_the_same_and_another_another(model, found):
    again = fit.fit(model, HOOKS[:1], SETTINGS, progress=False)
    assert torch.allclose(again.T[0], found.T[0], rtol=1e-6, atol=1e-7)
    other = fit.fit(model, HOOKS[:1], fit.Settings(TEXT, context=12, sites=8, seed=4), progress=False)
    assert not torch.allclose(other.T[0], found.T[0], rtol=1e-3)


def test_more_sites_err_less(model):
    def error(sites):
        settings = fit.Settings(TEXT, context=12, sites=sites, seed=0)
        said = fit.fit(model, HOOKS[:1], settings, progress=False).metadata["split_half_error"]
        return json.loads(said)[HOOKS[0]]

    assert error(120) < error(8) / 2


def test_sites_are_shared_evenly_and_drawn_once():
    contexts, positions = fit.choose_sites(4, 10, 10, 0)
    assert torch.bincount(contexts).tolist() == [3, 3, 2, 2]
    assert positions.min() >= 1 and positions.max() <= 9
    assert len({*zip(contexts.tolist(), positions.tolist(), strict=True)}) == 10
    # Every position of a short text, once.
    contexts, positions = fit.choose_sites(2, 4, 100, 0)
    assert positions.tolist() == [1, 2, 3] * 2 and contexts.tolist() == [0] * 3 + [1] * 3
    # Uniform: 9 positions, 30,000 draws; a share's sd is .0018.
    _, positions = fit.choose_sites(30_000, 10, 30_000, 1)
    shares = torch.bincount(positions, minlength=10)[1:] / 30_000
    assert (shares - 1 / 9).abs().max() < 0.009


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "gemma2", "gpt_neo"])
def test_other_models_go_by_differentiation(name, tmp_path):
    """Against a push in float32: the change of the logits by a small step in the stream of one position."""
    architectures.write(name, tmp_path / name)
    model = reading.read_model(ModelSource(folder=str(tmp_path / name)))
    hooks = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"]
    settings = fit.Settings(TEXT, context=12, sites=4, seed=3)
    found = fit.fit(model, hooks, settings, progress=False)
    assert found.metadata["method"].startswith("automatic differentiation (model_type is")
    inputs = windows.windows(model.tokenizer, TEXT, context=12, contexts=2)
    contexts, positions = fit.choose_sites(len(inputs), 12, 4, 3)
    model.bridge.double()
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0)).double()
    for hook in hooks:
        total = torch.zeros_like(vector)
        for context, position in zip(contexts.tolist(), positions.tolist(), strict=True):
            total += pushed(model, inputs[context], position, hook, vector)
        # float32 models with rotary frequencies of their own dtype: to 1e-4.
        assert torch.allclose(
            found.at(hook).double() @ vector, total / 4, rtol=2e-3, atol=2e-3 * total.abs().max()
        )


def pushed(model, tokens, position, hook, vector, step=1e-5):
    """By central differences: the final norm's change without its gain, times its scale, for a unit step."""
    end = f"blocks.{len(model.bridge.blocks) - 1}.hook_resid_post"

    def run(size):
        ends = []

        def add(x, hook):
            x = x.clone()
            x[:, position] += size * vector
            return x

        def keep(x, hook):
            ends.append(x[0, position].double())

        with torch.no_grad():
            model.bridge.run_with_hooks(
                tokens[None],
                fwd_hooks=[(hook, add), (end, keep)] if hook != end else [(end, add), (end, keep)],
            )
        x = ends[-1] - (ends[-1].mean() if model.head.norm == "LayerNorm" else 0)
        scale = (x.square().mean() + model.bridge.cfg.eps).sqrt()
        return x / scale, scale

    (plus, _), (minus, _), (_, scale) = run(step), run(-step), run(0)
    return (plus - minus) / (2 * step) * scale


def test_in_parallel_blocks_what_the_attention_writes_reaches_the_stream_after_the_block(tmp_path):
    architectures.write("gpt_neox", tmp_path / "parallel")
    model = reading.read_model(ModelSource(folder=str(tmp_path / "parallel")))
    hooks = ["blocks.0.attn.hook_z", "blocks.1.hook_resid_pre"]
    found = fit.fit(model, hooks, SETTINGS, progress=False)
    assert torch.equal(found.T[0], found.T[1])
    with pytest.raises(FsrlError, match="no blocks.0.hook_resid_mid, where directions of blocks.0.hook_r"):
        fit.fit(model, ["blocks.0.hook_resid_mid"], SETTINGS, progress=False)


def len_of_one(model):
    """A context that the first passage fills once."""
    return len(model.tokenizer(tiny.TEXT[0])["input_ids"]) - 2


def test_what_cannot_be_fitted_is_refused(model):
    with pytest.raises(FsrlError, match="sites is 1 and seed 0; sites must be 2 or more"):
        fit.Settings(TEXT, context=12, sites=1, seed=0)
    with pytest.raises(FsrlError, match="nothing can be added at 'blocks.0.hook_q'"):
        fit.fit(model, ["blocks.0.hook_q"], SETTINGS, progress=False)
    short = fit.Settings(tiny.TEXT[0], context=len_of_one(model), sites=8, seed=0)
    with pytest.raises(FsrlError, match="one window of text is left, its error needs two"):
        fit.fit(model, HOOKS[:1], short, progress=False)
