"""∂x_end/∂x of a GPT-2, behind the final norm and before it, against central differences, forward and
reverse differentiation, and by hand.
"""

import math
from dataclasses import replace

import pytest
import torch

from fsrl.effects import tangent
from fsrl.effects.forward import Clean, Tail, normalise
from fsrl.errors import FsrlError
from fsrl.hooks import Place
from fsrl.transport import closed_form, reverse
from tests.fixtures import effect_examples as ex

CONTEXTS, POSITIONS = torch.tensor([0, 3, 5, 5]), torch.tensor([1, 11, 6, 7])


@pytest.fixture(scope="module")
def exact(tiny_study):
    return ex.study(tiny_study)


def swept(tail, clean, places=ex.PLACES):
    return dict(closed_form.sweep(tail, clean, CONTEXTS, POSITIONS, places))


def behind_norm(tail, clean):
    return ex.through_norm(tail, clean, CONTEXTS, POSITIONS, ex.PLACES)


def normalised(tail, clean, place):
    """The stream at a place -> the normalised end, times the scale that it has at the sites."""
    _, scale = normalise(clean.final[CONTEXTS, POSITIONS], tail.eps)

    def push(x):
        end = tail.push(x[:, None], place, clean, CONTEXTS, POSITIONS)[:, 0]
        return normalise(end, tail.eps)[0] * scale

    return push


@pytest.mark.parametrize("place", ex.PLACES, ids=str)
def test_central_differences_give_the_same(exact, place):
    _, tail, clean, _ = exact
    x, step = clean.residual[place][CONTEXTS, POSITIONS], 1e-5

    def end(x):
        return tail.push(x[:, None], place, clean, CONTEXTS, POSITIONS)[:, 0]

    both = (swept(tail, clean)[place], end), (behind_norm(tail, clean)[place], normalised(tail, clean, place))
    for J, push in both:
        steps = [step * e for e in torch.eye(ex.D_MODEL).double()]
        columns = [(push(x + one) - push(x - one)) / (2 * step) for one in steps]
        difference = (torch.stack(columns, dim=-1) - J).flatten(1).norm(dim=1)
        assert (difference / J.flatten(1).norm(dim=1)).max() < 1e-7


@pytest.mark.parametrize("place", ex.PLACES, ids=str)
def test_forward_mode_gives_the_same(exact, place):
    _, tail, clean, _ = exact
    J, x = behind_norm(tail, clean)[place], clean.residual[place][CONTEXTS, POSITIONS]
    vector = torch.randn(x.shape, generator=torch.Generator().manual_seed(5)).double()
    _, expected = torch.func.jvp(normalised(tail, clean, place), (x,), (vector,))
    assert torch.allclose(torch.einsum("mij,mj->mi", J, vector), expected, rtol=1e-10, atol=1e-10)


def test_reverse_mode_through_the_models_own_code_gives_the_same(exact):
    model, tail, clean, _ = exact
    found = swept(tail, clean)
    model.requires_grad_(False)
    for rows in (5, 16):
        for i, (context, position) in enumerate(zip(CONTEXTS.tolist(), POSITIONS.tolist(), strict=True)):
            own, x_end = reverse.jacobians(model, ex.TOKENS[context], position, ex.PLACES, rows=rows)
            assert own.keys() == found.keys()
            assert torch.allclose(x_end, clean.final[context, position], rtol=1e-9)
            for place, J in own.items():
                assert torch.allclose(J, found[place][i], rtol=1e-9, atol=1e-10), place


def test_float32_is_near_float64(exact, tiny_study):
    _, tail, clean, _ = exact
    _, single, clean_single, _ = ex.study(tiny_study, torch.float32)
    for place, J in swept(single, clean_single).items():
        assert J.dtype == torch.float32
        expected = swept(tail, clean)[place]
        assert (J - expected).norm() < 1e-5 * expected.norm()


def test_a_sweep_stops_at_the_first_place(exact):
    _, tail, clean, _ = exact
    asked = [Place(1, True), Place(2, False)]
    found, every = swept(tail, clean, asked), swept(tail, clean)
    assert set(found) == set(asked)
    for place, J in found.items():
        assert torch.equal(J, every[place])


def test_blocks_that_add_linear_maps_multiply(exact):
    """LayerNorm and gelu made linear by hand: attention off, an MLP far on gelu's straight side."""
    _, tail, clean, _ = exact
    block = replace(
        tail.blocks[1],
        W_O=0 * tail.blocks[1].W_O,
        b_in=tail.blocks[1].b_in + 1000,
        ln2_b=0 * tail.blocks[1].ln2_b,
    )
    linear = Tail([tail.blocks[0], block], tail.eps)
    found = dict(closed_form.sweep(linear, clean, CONTEXTS, POSITIONS, ex.PLACES))
    x = clean.residual[Place(1, True)][CONTEXTS, POSITIONS]
    unit, scale = normalise(x, tail.eps)
    d = ex.D_MODEL
    P = torch.eye(d).double() - 1 / d
    for i in range(len(x)):
        inner = torch.diag(block.ln2_w) @ (P - torch.outer(unit[i], unit[i]) / d) / scale[i]
        M = (block.W_in @ block.W_out).T @ inner
        expected = found[Place(2, False)][i] @ (torch.eye(d).double() + M)
        assert torch.allclose(found[Place(1, True)][i], expected, atol=1e-10)
        # Attention that writes nothing changes nothing.
        assert torch.allclose(found[Place(1, False)][i], expected, atol=1e-10)


def test_at_the_end_it_is_the_final_norm_alone(exact):
    _, tail, clean, _ = exact
    J = behind_norm(tail, clean)[Place(2, False)]
    x = clean.final[CONTEXTS, POSITIONS]
    scale = ((x - x.mean(-1, keepdim=True)).square().mean(-1) + tail.eps).sqrt()
    for i in range(len(x)):
        exact_J = torch.func.jacrev(lambda v: torch.nn.functional.layer_norm(v, (len(v),), eps=tail.eps))(
            x[i]
        )
        assert torch.allclose(J[i], scale[i] * exact_J, atol=1e-12)


def test_the_norms_by_hand():
    # (3, 4): centred (-.5, .5), scale .5, x̂ (-1, 1): P - x̂ x̂ᵀ/2 = 0. RMS 5/√2, x̂ x̂ᵀ/2 = (9 12; 12 16)/25.
    x, ones = torch.tensor([[3.0, 4.0]]).double(), torch.eye(2).double()[None]
    assert closed_form.behind_norm(ones, x, "LayerNorm", 0.0).abs().max() < 1e-15
    N = torch.tensor([[16.0, -12.0], [-12.0, 9.0]]).double() / 25
    assert torch.allclose(closed_form.behind_norm(ones, x, "RMSNorm", 0.0)[0], N)
    assert torch.equal(closed_form.behind_norm(ones, x, "none", 0.0), ones)
    J = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 5.0]]).double()
    assert torch.allclose(closed_form.behind_norm(J[None], x, "RMSNorm", 0.0)[0], N @ J)
    with pytest.raises(FsrlError, match="final norm is 'BatchNorm'"):
        closed_form.behind_norm(ones, x, "BatchNorm", 0.0)


def test_gelus_slope_by_hand_and_by_differentiation():
    assert tangent.gelu_slope(torch.tensor([0.0])).item() == 0.5
    # At 1: u = √(2/π) 1.044715 = .83357, tanh u = .68238;
    # (1 + .68238)/2 + (1 - .46564)/2 · .79788 · 1.134145.
    by_hand = 0.84119 + 0.26718 * math.sqrt(2 / math.pi) * 1.134145
    assert tangent.gelu_slope(torch.tensor([1.0])).item() == pytest.approx(by_hand, abs=1e-4)
    x = torch.linspace(-6, 6, 101).double()
    slopes = torch.func.vmap(torch.func.grad(lambda v: torch.nn.functional.gelu(v, approximate="tanh")))(x)
    assert torch.allclose(tangent.gelu_slope(x), slopes, atol=1e-12)


def test_scaling_an_earlier_value_changes_the_pattern_path(exact):
    """What earlier positions hold counts: other keys give another Jacobian, keys after the site don't."""
    _, tail, clean, _ = exact
    place = Place(0, False)
    found = swept(tail, clean)[place]
    later = [keys.clone() for keys in clean.keys]
    for keys in later:
        for context, position in zip(CONTEXTS.tolist(), POSITIONS.tolist(), strict=True):
            if context != 5:
                keys[context, :, position + 1 :] += 7
    moved = Clean(later, clean.values, clean.residual, clean.final, {})
    assert torch.equal(swept(tail, moved)[place], found)
    earlier = Clean([keys * 1.5 for keys in clean.keys], clean.values, clean.residual, clean.final, {})
    assert not torch.allclose(swept(tail, earlier)[place], found, rtol=1e-3)
