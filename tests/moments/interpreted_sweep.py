"""The kernel of `fsrl.moments.triton_sweep` in Triton's interpreter; test_triton_sweep.py runs this in a
process of its own: TRITON_INTERPRET must be set before Triton is imported, and no other test is to find it.
"""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.moments import engine, triton_sweep
from fsrl.moments import sweep as moments_sweep
from fsrl.moments.readings import Reading
from tests.fixtures import sweep_examples as ex
from tests.fixtures.moment_examples import assert_same_bytes, random_matrices, tiles

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def narrow_blocks():
    """The interpreter takes milliseconds an operation, whatever the width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_sweep, "COLUMNS", 32)
        yield


@pytest.mark.parametrize("case", ex.CASES.values(), ids=ex.CASES)
def test_the_state_is_that_of_eager_torch_and_of_brute_force(case):
    found = ex.swept(case, CPU, fused=True)
    ex.assert_alike(found, ex.swept(case, CPU, fused=False))
    ex.assert_alike(found, ex.by_brute_force(case))


@settings(max_examples=10)
@given(
    widths=st.lists(st.integers(1, 70), min_size=1, max_size=3),
    kind=st.sampled_from(["normal", "ties", "zeros"]),
    k=st.integers(0, 9),
    n_bins=st.integers(0, 9),
    reading=st.sampled_from(["none", "first", "some"]),
)
def test_any_tiles(widths, kind, k, n_bins, reading):
    case = ex.Case(tuple(width + 1 for width in widths), kind, k, n_bins, reading=reading, rows=1)
    ex.assert_alike(ex.swept(case, CPU, fused=True), ex.swept(case, CPU, fused=False))


def test_blocks_as_wide_as_they_are_on_a_gpu(monkeypatch):
    monkeypatch.undo()
    case = ex.Case((1000, 513), k=4, reading="some")
    monkeypatch.setattr(triton_sweep, "COLUMNS", 512)
    ex.assert_alike(ex.swept(case, CPU, fused=True), ex.by_brute_force(case))


def test_where_a_tile_is_cut_changes_no_extreme_token_and_no_count():
    """Nor do runs differ by a byte."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 90, generator=generator).mul(3).round()
    found = []
    for cuts in ([90], [90], [31, 59]):
        state, start = ex.state(ex.Case((90,), k=7, rows=2)), 0
        for tile in values.split(cuts, dim=1):
            moments_sweep.fused_sweep(tile, tile.shape[1], start, state)
            start += tile.shape[1]
        found.append(state)
    for field in fields(found[0]):
        whole, again, cut = (getattr(state, field.name) for state in found)
        assert torch.equal(whole, again)
        assert field.name == "sums" or torch.equal(whole, cut)


def test_a_pass_in_several_readings_is_that_of_the_cpu(monkeypatch):
    W_dec, W_U = random_matrices(n=2, d_vocab=70)
    kept = torch.arange(1, 70, 2)
    readings = [Reading(), Reading(kept, cosine=True), Reading()]
    with tiles(1, 40):
        expected = engine.logit_moments_of_readings(W_dec, W_U, readings, n_extremes=2)
        monkeypatch.setattr(moments_sweep, "sweep_for", lambda device: moments_sweep.fused_sweep)
        monkeypatch.setattr(
            moments_sweep, "read_and_sweep_for", lambda device: moments_sweep.fused_read_and_sweep
        )
        found = engine.logit_moments_of_readings(W_dec, W_U, readings, n_extremes=2)
    assert_same_bytes(found[0], found[2])
    for ours, theirs in zip(found, expected, strict=True):
        for field in fields(ours):
            if field.name != "d_vocab":
                torch.testing.assert_close(
                    getattr(ours, field.name), getattr(theirs, field.name), rtol=1e-5, atol=1e-6
                )


def test_settings_beyond_the_kernel_take_eager_torch(monkeypatch):
    monkeypatch.setattr(triton_sweep, "sweep", None)
    for reading in ("none", "some"):
        for change in ({"k": 65}, {"n_bins": 1023}):
            case = replace(ex.Case((100,), reading=reading), **change)
            ex.assert_alike(ex.swept(case, CPU, fused=True), ex.by_brute_force(case))
