"""The compiled kernels give the same bytes when numba compiles them and when it loads them from its cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import hashlib, torch
from fsrl.moments import engine as moments

generator = torch.Generator().manual_seed(0)
W_dec, W_U = torch.randn(500, 24, generator=generator), torch.randn(24, 353, generator=generator)
found = moments.logit_moments(W_dec, W_U)
columns = [column for column in vars(found).values() if isinstance(column, torch.Tensor)]
print(hashlib.sha256(b"".join(column.numpy().tobytes() for column in columns)).hexdigest())
"""


@pytest.mark.slow
def test_a_first_run_and_a_second_give_the_same_bytes(tmp_path: Path) -> None:
    path = os.pathsep.join(sys.path)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("*.nbc")), "numba has cached nothing"
    assert runs[0] == runs[1]
