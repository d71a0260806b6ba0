"""The fused sweep for GPUs: when it is chosen, and, without a GPU, its kernel interpreted and compiled.

Triton is no part of the environment where Torch's build is one for CPUs. `make triton` puts it into .triton,
where only the processes that these tests start find it.
"""

import importlib.util
import logging
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from fsrl.moments import engine
from fsrl.moments import sweep as moments_sweep
from tests.fixtures import sweep_examples as ex
from tests.fixtures.moment_examples import assert_same_bytes, random_matrices, tiles
from tests.fixtures.pretend_cuda import IS_TRUE, only_pretended, pretend_cuda

ROOT = Path(__file__).parents[2]
BESIDE = ROOT / ".triton"
CUDA = torch.device("cuda:0")
only_true = pytest.mark.skipif(not IS_TRUE, reason="no GPU is here to run the fused sweep")


def with_triton(file: str, folder: Path, **given: str) -> str:
    """What pytest says of a file of tests, in a process that finds Triton; skips where there is none."""
    path = list(sys.path)
    if importlib.util.find_spec("triton") is None:
        if not (BESIDE / "triton").is_dir():
            pytest.skip("no Triton here: `make triton` puts it into .triton (200 MB)")
        path.append(str(BESIDE))
    # Not ~/.triton: what is compiled is not taken from an earlier run.
    given |= {"PYTHONPATH": os.pathsep.join(path), "TRITON_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"tests/moments/{file}"], cwd=ROOT, env=os.environ | given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.slow
def test_the_kernel_gives_in_the_interpreter_what_eager_torch_gives(tmp_path: Path) -> None:
    said = with_triton("interpreted_sweep.py", tmp_path, TRITON_INTERPRET="1")
    assert int(re.findall(r"(\d+) passed", said)[0]) > len(ex.CASES) and "skipped" not in said


@pytest.mark.slow
def test_the_kernel_compiles_for_gpus_that_are_not_here(tmp_path: Path) -> None:
    said = with_triton("compiled_sweep.py", tmp_path)
    assert re.search(r"\d+ passed", said) and "skipped" not in said


@pytest.fixture
def undecided():
    """Nothing is known of any device yet, nor afterwards."""
    moments_sweep._fuses.cache_clear()
    yield
    moments_sweep._fuses.cache_clear()


@only_pretended
def test_a_gpu_without_triton_sweeps_in_eager_torch_and_says_so_once(undecided, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsrl.moments.triton_sweep", None)
    monkeypatch.delattr("fsrl.moments.triton_sweep", raising=False)
    with pretend_cuda(), caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert moments_sweep.sweep_for(CUDA) is moments_sweep.torch_sweep
            assert moments_sweep.read_for(CUDA) is moments_sweep.torch_read
            assert moments_sweep.read_and_sweep_for(CUDA) is not moments_sweep.fused_read_and_sweep
    (record,) = caplog.records
    assert "no fused sweep on cuda:0" in record.message and "ten times the product's" in record.message


@only_pretended
@pytest.mark.parametrize("works", [True, False])
def test_the_fused_sweep_is_chosen_where_it_does_what_eager_torch_does(undecided, works, monkeypatch, caplog):
    def fused(*arguments):
        moments_sweep.torch_read_and_sweep(*arguments)
        if not works:
            arguments[4].slots[0, 3] += 1

    monkeypatch.setattr(moments_sweep, "fused_read_and_sweep", fused)
    with pretend_cuda(), caplog.at_level(logging.WARNING):
        assert (moments_sweep.sweep_for(CUDA) is moments_sweep.fused_sweep) == works
        assert (moments_sweep.read_and_sweep_for(CUDA) is fused) == works
    assert ("its numbers differ from those of eager torch" in caplog.text) != works


def test_a_cpu_asks_for_no_triton(monkeypatch):
    monkeypatch.setattr(moments_sweep, "try_fused", lambda device: pytest.fail("it was tried"))
    cpu = torch.device("cpu")
    for choose in (moments_sweep.sweep_for, moments_sweep.read_for, moments_sweep.read_and_sweep_for):
        assert callable(choose(cpu))


@only_true
def test_cuda_runs_the_fused_sweep(undecided):
    moments_sweep.try_fused(CUDA)
    assert moments_sweep.sweep_for(CUDA) is moments_sweep.fused_sweep


@only_true
@pytest.mark.parametrize("case", ex.CASES.values(), ids=ex.CASES)
def test_cuda_has_the_state_of_eager_torch_and_of_brute_force(case):
    wide = ex.wider(case, 40)
    fused = partial(ex.swept, wide, CUDA, fused=True)
    ex.assert_alike(fused(), ex.swept(wide, CUDA, fused=False))
    ex.assert_alike(fused(), ex.by_brute_force(wide))


@only_true
@pytest.mark.parametrize("precision", ["fp64", "fp32", "split", "bf16"])
def test_cuda_gives_a_pass_the_same_bytes_twice_and_eager_torch_s_tokens(precision, monkeypatch):
    W_dec, W_U = random_matrices(n=50, d_vocab=5001)
    with tiles(32, 1024):
        runs = [engine.logit_moments(W_dec, W_U, precision=precision, device="cuda") for _ in range(2)]
        monkeypatch.setattr(moments_sweep, "_fuses", lambda device: False)
        eager = engine.logit_moments(W_dec, W_U, precision=precision, device="cuda")
    assert_same_bytes(*runs)
    for name in ("top_ids", "bottom_ids", "top_weights", "underflow", "counts", "overflow"):
        assert torch.equal(getattr(runs[0], name), getattr(eager, name)), name
    torch.testing.assert_close(runs[0].kurtosis, eager.kurtosis, rtol=1e-5, atol=1e-6)
