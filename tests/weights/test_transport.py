"""The file of transport matrices, and what they do to directions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.weights import transport
from fsrl.weights.transport import Transport

HOOKS = ("blocks.0.hook_resid_pre", "blocks.1.attn.hook_z")


def made(n=2, d=3):
    T = torch.randn(n, d, d, generator=torch.Generator().manual_seed(0))
    return Transport(T, HOOKS[:n], {"sites": "4"})


def test_what_is_written_is_read(tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    transport.write(made(), first)
    transport.write(made(), second)
    found = transport.read(first)
    assert torch.equal(found.T, made().T) and found.hooks == HOOKS and found.metadata == {"sites": "4"}
    assert first.read_bytes() == second.read_bytes()


def test_a_row_becomes_what_the_matrix_makes_of_it():
    # T maps columns: (1, 0) becomes its first column.
    T = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    rows = torch.tensor([[1.0, 0.0], [10.0, 1.0]])
    assert transport.carried(rows, T).tolist() == [[1.0, 3.0], [12.0, 34.0]]
    exact = transport.carried(rows.double(), T)
    assert exact.dtype == torch.float64


@given(st.integers(0, 2**31), st.floats(-100, 100))
def test_it_is_linear_and_row_by_row(seed, factor):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(5, 3, generator=generator).double()
    T = made().T[0]
    found = transport.carried(rows, T)
    assert torch.allclose(transport.carried(factor * rows, T), factor * found, atol=1e-9)
    order = torch.randperm(5, generator=generator)
    assert torch.allclose(transport.carried(rows[order], T), found[order], atol=1e-12)


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(FsrlError, match="no matrix of blocks.7.hook_resid_pre .there are: blocks.0"):
        made().at("blocks.7.hook_resid_pre")
    with pytest.raises(FsrlError, match=r"T is \[2, 3, 3\] for 1 hooks"):
        Transport(made().T, HOOKS[:1], {})
    with pytest.raises(FsrlError, match=r"transport: nan at \[1, 2, 0\]"):
        T = made().T.clone()
        T[1, 2, 0] = torch.nan
        Transport(T, HOOKS, {})
    with pytest.raises(FsrlError, match="rows have d_model 4 but T has 3"):
        transport.carried(torch.zeros(1, 4), made().T[0])
    with pytest.raises(FsrlError, match="no such file .transport.; build it first"):
        transport.read(tmp_path / "none.safetensors")
