"""Float products made of 8-bit integer products: exact sums, and an error that no basis makes worse."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsrl.moments import engine, formulas
from fsrl.moments import int8 as moments_int8
from fsrl.moments import products as moments_products
from fsrl.moments import units as moments_units
from tests.fixtures.moment_examples import planted_matrices

CPU = torch.device("cpu")


@pytest.fixture(params=["units", "floats"])
def units(request, monkeypatch):
    """The machine's own int8 units, where it has them, and the floats that stand in for them elsewhere."""
    if request.param == "floats":
        monkeypatch.setattr(moments_units, "has_int8", lambda device: False)
    elif not moments_units.has_int8(CPU):
        pytest.skip("this CPU has no int8 units")


def multiplied(W_dec, W_U, parts):
    rows = moments_int8.prepare_rows(parts, W_dec)
    columns = moments_int8.prepare_columns(parts, W_U, len(W_dec))
    return moments_int8.multiply(rows, columns)[:, : W_U.shape[1]].double()


def test_worked_example():
    """(1, -0.3) in steps of 1 / 127: hi (127, -38), and -38.1 + 38 = -0.1 of a step is -25 of 254."""
    hi, lo, scale = moments_int8._whole(torch.tensor([[1.0, -0.3], [0.0, 0.0]]))
    assert hi.tolist() == [[127, -38], [0, 0]]
    assert lo.tolist() == [[0, -25], [0, 0]]
    assert scale.flatten().tolist() == pytest.approx([1 / 127, 1 / 127])


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(1, 90)),
    seed=st.integers(0, 2**31),
)
def test_products_of_whole_numbers_are_exact(shape, seed):
    features, depth, tokens = shape
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(-127, 128, (features, depth), generator=generator)
    columns = torch.randint(-127, 128, (tokens, depth), generator=generator)
    packed = moments_units.int8_pack(columns.float(), features)
    found = moments_units.int8_product(moments_units.int8_rows(rows.float()), packed, torch.ones(tokens))
    assert torch.equal(found[:, :tokens].long(), rows @ columns.T)


def test_the_largest_sums_stay_exact_and_are_scaled_and_added(units):
    rows = torch.full((3, 1536), 127.0)
    rows[1] = -127
    packed = moments_units.int8_pack(torch.full((2, 1536), -127.0), 3)
    turned, scale = moments_units.int8_rows(rows), torch.tensor([1.0, 0.5])
    before = torch.ones_like(moments_units.int8_product(turned, packed, scale))
    found = moments_units.int8_product(turned, packed, scale, plus=before)[:, :2]
    peak = 1536 * 127**2
    expected = torch.tensor([[-peak, -peak / 2], [peak, peak / 2], [-peak, -peak / 2]]) + 1
    assert torch.allclose(found, expected, rtol=2**-23)


@pytest.mark.parametrize("precision", ["int8", "split"])
@pytest.mark.parametrize("outlier", [1.0, 100.0, 1e6])
def test_error_whatever_single_coordinates_are(precision, outlier, units):
    """Relative to the product of lengths over sqrt(d_model): what random directions of these lengths give."""
    parts, bound = moments_products._PARTS[precision], moments_products.MODES[precision].rounding
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.randn(20, 96, dtype=torch.float64, generator=generator)
    W_U = torch.randn(96, 300, dtype=torch.float64, generator=generator)
    W_dec[:, 3] *= outlier
    W_U[7] *= outlier
    unit = W_dec.norm(dim=1, keepdim=True) * W_U.norm(dim=0) / 96**0.5
    error = (multiplied(W_dec, W_U, parts) - W_dec @ W_U) / unit
    assert error.square().mean().sqrt() < bound / 2
    assert error.abs().max() < 2 * bound


def test_units_and_floats_give_the_same(monkeypatch):
    W_dec, W_U = (matrix.double() for matrix in planted_matrices(n=12, d_vocab=500))
    usual = multiplied(W_dec, W_U, 2)
    monkeypatch.setattr(moments_units, "has_int8", lambda device: False)
    plain = multiplied(W_dec, W_U, 2)
    assert ((usual - plain).abs() <= 2**-20 * plain.abs().amax()).all()


def test_rotation_changes_no_product():
    for d_model in (1, 2, 160):
        Q = moments_int8.rotation(d_model).double()
        assert torch.allclose(Q @ Q.T, torch.eye(d_model, dtype=torch.float64), atol=1e-6)
        assert torch.equal(moments_int8.rotation(d_model), Q.float())


def test_moments_hold_their_error_with_outlying_coordinates():
    """As a residual stream has them: two coordinates of the features, and two of W_U, far above the rest."""
    W_dec, W_U = planted_matrices()
    W_dec[:, [5, 99]] *= 50
    W_U[[3, 99]] *= 7
    exact = formulas.row_moments(W_dec.double() @ W_U.double())[:, 3]
    for precision, bound in (("split", 1e-4), ("int8", 1e-2)):
        found = engine.logit_moments(W_dec, W_U, precision=precision, n_extremes=0, n_bins=0).kurtosis
        assert (found / exact - 1).abs().max() < bound, precision


def test_a_cpu_without_int8_units_is_told_by_its_flags(monkeypatch):
    for flags, expected in (({}, False), ({"avx512_vnni": True}, True), ({"avx_vnni": True}, True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags)
        assert moments_units.has_int8(CPU) is (expected and moments_units._x86_with_onednn())
    assert not moments_units.has_int8(torch.device("cuda"))
