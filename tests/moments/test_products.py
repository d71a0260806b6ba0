"""Every precision against float64, with the error that its docstring states; the paths that machines lack."""

import logging
import sys
from unittest import mock

import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.moments import engine, formulas
from fsrl.moments import products as moments_products
from fsrl.moments import sweep as moments_sweep
from fsrl.moments import units as moments_units
from tests.fixtures.moment_examples import (
    assert_same_bytes,
    planted_matrices,
    random_matrices,
    tiles,
    varied_matrices,
)

# As the docstring of logit_moments states them: at a model's width, and for rows made by single tokens.
BOUNDS = {"fp64": 1e-12, "fp32": 5e-6, "split": 5e-6, "bf16": 5e-3}
WORST_BOUNDS = BOUNDS | {"bf16": 3e-2}
CUDA_BOUNDS = WORST_BOUNDS | {"split": 2e-5, "auto": 1e-5}
SHAPE = ("std", "skewness", "kurtosis")
SINGLE_TOKENS = [varied_matrices(), random_matrices(), random_matrices(5, 300, 4000)]


def assert_near(result, expected, bound):
    """Relative error of std and kurtosis, absolute error of skewness below 1 (relative above)."""
    for name in SHAPE:
        wanted = getattr(expected, name)
        scale = wanted.abs().clamp(min=1) if name == "skewness" else wanted
        assert ((getattr(result, name) - wanted) / scale).abs().max() < bound, name


def oracle(W_dec, W_U):
    std, skewness, kurtosis = formulas.row_moments(W_dec.double() @ W_U.double())[:, 1:4].T
    return mock.Mock(std=std, skewness=skewness, kurtosis=kurtosis)


@pytest.mark.parametrize("precision", BOUNDS)
def test_error_at_a_models_width(precision):
    weights = planted_matrices()
    exact = oracle(*weights)
    assert exact.kurtosis[:32].min() > 10  # heavy-tailed
    assert exact.kurtosis[32:64].max() < 2.9  # two levels
    assert_near(engine.logit_moments(*weights, precision=precision), exact, BOUNDS[precision])


@pytest.mark.parametrize("precision", WORST_BOUNDS)
@pytest.mark.parametrize("weights", SINGLE_TOKENS)
def test_error_where_single_tokens_make_the_shape(precision, weights):
    assert_near(
        engine.logit_moments(*weights, precision=precision), oracle(*weights), WORST_BOUNDS[precision]
    )


@pytest.fixture
def tf32(monkeypatch):
    """split as on CUDA, but for the units: TF32 operands, multiplied in float32, lo rounded as they would."""
    halves = moments_products._tf32_halves

    def rounded(matrix):
        hi, lo = halves(matrix)
        assert hi.dtype == torch.float32
        assert ((hi.view(torch.int32) & (2**13 - 1)) == 0).all()
        return hi, (lo.view(torch.int32) & -(2**13)).view(torch.float32)

    monkeypatch.setattr(moments_products, "meant", lambda precision, device: precision)
    monkeypatch.setattr(moments_products, "_tf32_halves", rounded)


@pytest.mark.parametrize("weights", [planted_matrices(), *SINGLE_TOKENS])
def test_split_in_tf32_is_as_good_as_float32(weights, tf32):
    assert_near(engine.logit_moments(*weights, precision="split"), oracle(*weights), BOUNDS["fp32"])


def test_split_in_tf32_tells_rounding_from_shape_and_ranks_equal_columns_by_token_id(tf32):
    W_dec, W_U = random_matrices()
    equal = engine.logit_moments(W_dec, W_U[:, :1].expand(-1, 777), precision="split")
    assert (equal.std == 0).all() and equal.kurtosis.isnan().all()
    copies = [2499, *range(480, 530), 1023, 1024, 5, 255]
    W_U[:, copies] = W_U[:, 97:98] * 20
    result = engine.logit_moments(W_dec, W_U, precision="split", n_extremes=2500)
    for ranking in [*result.top_ids.tolist(), *result.bottom_ids.tolist()]:
        assert [token for token in ranking if token in copies] == sorted(copies)


@pytest.mark.parametrize("weights", [planted_matrices(), *SINGLE_TOKENS])
def test_split_on_a_cpu_is_fp32(weights):
    assert_same_bytes(engine.logit_moments(*weights, precision="split"), engine.logit_moments(*weights))


def test_lower_precision_is_really_used():
    weights = varied_matrices()
    exact = engine.logit_moments(*weights, precision="fp64").kurtosis
    errors = [
        (engine.logit_moments(*weights, precision=precision).kurtosis / exact - 1).abs().max().item()
        for precision in ("fp32", "bf16")
    ]
    assert 0 < errors[0] < errors[1] / 100


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_onednn_the_numbers_are_the_same_to_tolerance(precision, monkeypatch):
    weights = varied_matrices()
    usual = engine.logit_moments(*weights, precision=precision)
    monkeypatch.setattr(moments_units, "_x86_with_onednn", lambda: False)
    plain = engine.logit_moments(*weights, precision=precision)
    assert_near(plain, oracle(*weights), WORST_BOUNDS[precision])
    assert_near(plain, usual, 2 * WORST_BOUNDS[precision])


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_torch_and_compiled_sweeps_agree(precision, offset, monkeypatch):
    W_dec, W_U = varied_matrices()
    weights = W_dec, W_U + offset
    compiled = engine.logit_moments(*weights, precision=precision)
    monkeypatch.setattr(moments_sweep, "sweep_for", lambda device: moments_sweep.torch_sweep)
    plain = engine.logit_moments(*weights, precision=precision)
    assert_near(compiled, plain, 1e-12 if precision == "fp64" else 5e-6)
    for name in ("right_kurtosis", "left_kurtosis", "right_eighth", "left_eighth"):
        ours, theirs = getattr(compiled, name), getattr(plain, name)
        torch.testing.assert_close(ours, theirs, rtol=1e-10 if precision == "fp64" else 2e-5, atol=1e-12)
    for name in ("top_ids", "bottom_ids", "top_weights", "bottom_weights", "underflow", "counts", "overflow"):
        assert torch.equal(getattr(compiled, name), getattr(plain, name)), name


def test_a_machine_without_numba_says_so_and_uses_torch(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "fsrl.moments.kernels", None)
    monkeypatch.delattr("fsrl.moments.kernels", raising=False)
    moments_sweep._compiled.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert moments_sweep.sweep_for(torch.device("cpu")) is moments_sweep.torch_sweep
    assert "numba" in caplog.text
    moments_sweep._compiled.cache_clear()


@pytest.mark.parametrize(
    ("device", "capability", "expected"),
    [("cpu", None, "fp32"), ("cuda", (7, 5), "fp32"), ("cuda", (8, 0), "split"), ("cuda", (9, 0), "split")],
)
def test_auto_goes_by_what_the_device_has(device, capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert moments_products.fastest_exact(torch.device(device)) == expected


@pytest.mark.parametrize("weights", [planted_matrices(), *SINGLE_TOKENS])
def test_auto_holds_what_it_promises(weights):
    auto = engine.logit_moments(*weights, precision="auto")
    assert_near(auto, oracle(*weights), 1e-5)
    chosen = moments_products.fastest_exact(torch.device("cpu"))
    assert torch.equal(auto.kurtosis, engine.logit_moments(*weights, precision=chosen).kurtosis)


@pytest.mark.parametrize("setting", ["highest", "high", "medium"])
def test_the_callers_matmul_setting_is_not_used_and_is_left_as_it_was(setting):
    weights = random_matrices()
    plain = engine.logit_moments(*weights)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(setting)
        assert torch.equal(engine.logit_moments(*weights).kurtosis, plain.kurtosis)
        assert torch.get_float32_matmul_precision() == setting
        with (
            pytest.raises(FsrlError),
            mock.patch.object(engine, "_Pass", side_effect=FsrlError("stopped half way")),
        ):
            engine.logit_moments(*weights)
        assert torch.get_float32_matmul_precision() == setting
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("precision", BOUNDS)
def test_any_dtype_of_weights_in_any_precision(dtype, precision):
    W_dec, W_U = (matrix.to(dtype) for matrix in varied_matrices())
    result = engine.logit_moments(W_dec, W_U, precision=precision)
    assert_near(result, oracle(W_dec, W_U), WORST_BOUNDS[precision])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", CUDA_BOUNDS)
@pytest.mark.parametrize("devices", [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_cuda_gives_what_the_cpu_gives(precision, devices):
    W_dec, W_U = varied_matrices()
    exact = engine.logit_moments(W_dec, W_U, precision="fp64")
    with tiles(8, 512):
        result = engine.logit_moments(
            W_dec.to(devices[0]), W_U.to(devices[1]), precision=precision, device="cuda"
        )
    assert result.kurtosis.device.type == "cpu"
    assert_near(result, exact, CUDA_BOUNDS[precision])
    if precision != "bf16":
        assert torch.equal(result.top_ids[:, 0], exact.top_ids[:, 0])
    assert ((result.counts - exact.counts).abs().sum(1) <= W_U.shape[1] // 50).all()
