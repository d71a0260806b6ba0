"""TransformerLens' JacobianLens as oracle and as reader: its own fit gives our Jacobians, and reads our file.

Its J at a block, of one prompt (`_jacobian_for_prompt`), is not ours summed over all positions: with V the
positions from `skip_first_positions` to the last but one,

    J = 1/|V| Σ_{t in V} Σ_{u in V, u >= t} ∂x_end,u/∂x_t

Neither source nor target is ever the last position or an early one, the effect on the position itself (u = t)
is in the sum, and the mean over prompts counts each alike, however long.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import layer_norm

from fsrl.effects import forward
from fsrl.hooks import Place
from fsrl.models import reading
from fsrl.models.sources import ModelSource
from fsrl.transport import closed_form, fit, lens, reverse
from tests.fixtures import effect_examples as ex
from tests.fixtures import tiny_study as tiny

BLOCK, END = Place(1, False), Place(ex.N_LAYERS, False)  # the output of block 0, and of the last
SKIP = 2


@pytest.fixture(scope="module")
def bridge(tiny_study):
    return ex.bridge(tiny_study)


def fitted(bridge, prompts, length):
    """J [d_model, d_model] of block 0, as JacobianLens fits it on the first tokens of some prompts."""
    from transformer_lens.tools.analysis import JacobianLens

    found = JacobianLens.fit(
        bridge,
        prompts,
        corpus="made up",
        max_seq_len=length,
        skip_first_positions=SKIP,
        show_progress=False,
    )
    assert found.source_layers == [0]
    return found.jacobians[0].double()


def tokens_of(bridge, prompt, length):
    return bridge.to_tokens(prompt)[0, :length]


def between(bridge, tokens, source, target):
    """∂x_end,u/∂x_t of block 0 [d_model, d_model], by our reverse pass: t is `source`, u is `target`."""
    d = ex.D_MODEL
    bridge.requires_grad_(False)
    caught = reverse._run(bridge, tokens.expand(d, -1), [BLOCK])
    asked = torch.zeros_like(caught[END])
    asked[:, target] = torch.eye(d).double()
    (gradient,) = torch.autograd.grad(caught[END], [caught[BLOCK]], asked)
    return gradient[:, source]


def test_where_one_position_counts_its_J_is_ours_at_that_position(bridge):
    """Of SKIP + 2 tokens V is one position: what is left is our Jacobian, with no final norm in it."""
    for prompt in tiny.TEXT:
        tokens = tokens_of(bridge, prompt, SKIP + 2)
        assert len(tokens) == SKIP + 2
        found = fitted(bridge, [prompt], SKIP + 2)
        ours, x_end = reverse.jacobians(bridge, tokens, SKIP, [BLOCK], rows=5)
        assert torch.allclose(found, ours[BLOCK], rtol=1e-5, atol=1e-6)
        clean = forward.run_clean(bridge, tokens[None], ex.PLACES, [], "cpu", progress=False)
        tail, where = forward.Tail.of(bridge), (torch.tensor([0]), torch.tensor([SKIP]))
        ((_, swept),) = closed_form.sweep(tail, clean, *where, [BLOCK])
        assert torch.allclose(found, swept[0], rtol=1e-5, atol=1e-6)
        N_J = closed_form.behind_norm(swept, x_end[None], "LayerNorm", tail.eps)[0]
        assert not torch.allclose(found, N_J, atol=1e-2)


def test_over_several_positions_it_is_ours_summed_over_later_ones(bridge):
    lengths, expected = [], []
    for prompt in tiny.TEXT:
        tokens = tokens_of(bridge, prompt, 9)
        counted = range(SKIP, len(tokens) - 1)
        lengths.append(len(counted))
        own = {t: reverse.jacobians(bridge, tokens, t, [BLOCK], rows=16)[0][BLOCK] for t in counted}
        pairs = [(t, u, between(bridge, tokens, t, u)) for t in counted for u in counted if u >= t]
        for t, u, found in pairs:
            assert u > t or torch.allclose(found, own[t], rtol=1e-10, atol=1e-12)
        expected.append(torch.stack([found for _, _, found in pairs]).sum(0) / len(counted))
        summed = fitted(bridge, [prompt], 9)
        assert torch.allclose(summed, expected[-1], rtol=1e-5, atol=1e-6)
        # What earlier positions do to later ones is a part that shows.
        assert not torch.allclose(summed, torch.stack([*own.values()]).mean(0), atol=1e-3)
    assert max(lengths) > 3
    both = fitted(bridge, tiny.TEXT, 9)
    assert torch.allclose(both, torch.stack(expected).mean(0), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def model(tiny_study):
    """With a large part of the stream that all positions share, as trained models have."""
    found = reading.read_model(ModelSource(folder=str(tiny_study / "model")))
    with torch.no_grad():
        found.bridge.original_model.transformer.wpe.weight.add_(torch.linspace(-3, 3, ex.D_MODEL))
    return found


def readout(model, path):
    """Logits [positions, d_vocab] of block 0 and of the model, by JacobianLens."""
    from transformer_lens.tools.analysis import JacobianLens

    said = JacobianLens.load(str(path)).readout(model.bridge, ex.TOKENS[:1], return_full_logits=True)
    return said.lens_logits[0][1:], said.model_logits[1:]


def test_a_readout_of_our_file_is_the_final_norm_of_J_x(model, tmp_path):
    settings = fit.Settings("<|endoftext|>".join(tiny.TEXT * 3), context=12, sites=60, seed=0)
    found = fit.fit(model, ["blocks.0.hook_resid_post"], settings, progress=False)
    lens.write_artifact(found, tmp_path / "lens.pt")
    logits, of_model = readout(model, tmp_path / "lens.pt")

    _, cache = model.bridge.run_with_cache(ex.TOKENS[:1])
    x, norm = cache["blocks.0.hook_resid_post"][0, 1:], model.bridge.ln_final
    ended = layer_norm(x @ found.J[0].T, (ex.D_MODEL,), norm.weight, norm.bias, model.bridge.cfg.eps)
    assert torch.allclose(logits, ended @ model.bridge.W_U + model.bridge.b_U, rtol=1e-4, atol=1e-4)

    def agreement(logits):
        pairs = zip(logits.detach(), of_model.detach(), strict=True)
        return min(np.corrcoef(one, other)[0, 1] for one, other in pairs)

    # Two blocks of small weights: block 0 knows nearly all that the model says.
    assert agreement(logits) > 0.98
    # T in J's place would have the norm twice, and what all positions share would be gone.
    twice = replace(found, J={0: found.at("blocks.0.hook_resid_post")})
    lens.write_artifact(twice, tmp_path / "twice.pt")
    assert agreement(readout(model, tmp_path / "twice.pt")[0]) < 0.9
