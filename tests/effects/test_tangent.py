"""Infinitesimal steps: against the closed form, steps through the model's own code, and by hand."""

import pytest
import torch

from fsrl.effects import forward, tangent
from fsrl.hooks import Place
from tests.fixtures import effect_examples as ex

CONTEXTS, POSITIONS = torch.tensor([0, 3, 5, 5]), torch.tensor([1, 11, 6, 7])
VECTORS = torch.randn(4, ex.D_MODEL, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture(scope="module")
def exact(tiny_study):
    return ex.study(tiny_study)


@pytest.mark.parametrize("place", ex.PLACES, ids=str)
def test_it_is_the_jacobian_of_the_site_times_the_vector(exact, place):
    _, tail, clean, _ = exact
    (J,) = ex.through_norm(tail, clean, CONTEXTS, POSITIONS, [place]).values()
    found = tangent.tangent(tail, clean, place, CONTEXTS, POSITIONS, VECTORS)
    torch.testing.assert_close(found, (J @ VECTORS[..., None])[..., 0], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("layer", range(ex.N_LAYERS))
def test_it_predicts_a_small_step_through_the_models_own_code(exact, layer):
    model, tail, clean, W_U = exact
    found = tangent.tangent(tail, clean, Place(layer, False), CONTEXTS, POSITIONS, VECTORS)
    for site, (context, position) in enumerate(zip(CONTEXTS.tolist(), POSITIONS.tolist(), strict=True)):
        _, scale = forward.normalise(clean.final[context, position], tail.eps)
        hook = f"blocks.{layer}.hook_resid_pre"
        up, down = (
            ex.logits_change(model, context, position, hook, step * VECTORS[site]) for step in (1e-5, -1e-5)
        )
        measured, predicted = (up - down) / 2e-5, found[site] @ W_U / scale
        assert (measured - predicted).norm() / measured.norm() < 1e-6


def test_at_the_last_hook_the_parts_along_the_stream_and_the_ones_go(exact):
    _, tail, clean, _ = exact
    x = clean.final[CONTEXTS, POSITIONS]
    ones = torch.ones_like(x)
    last = Place(ex.N_LAYERS, False)
    for lost in (x, ones, x + 2 * ones):
        gone = tangent.tangent(tail, clean, last, CONTEXTS, POSITIONS, lost)
        # eps keeps a little of the stream.
        assert gone.norm() < 1e-3 * lost.norm()
    centred = x - x.mean(-1, keepdim=True)
    beside = VECTORS - VECTORS.mean(-1, keepdim=True)
    beside = (
        beside - (beside * centred).sum(-1, keepdim=True) / centred.pow(2).sum(-1, keepdim=True) * centred
    )
    found = tangent.tangent(tail, clean, last, CONTEXTS, POSITIONS, beside)
    torch.testing.assert_close(found, beside)
