"""The kernel of `fsrl.moments.triton_sweep` compiled for GPUs that are not here; test_triton_sweep.py runs
this in a process of its own, so that no other test finds Triton.

The sweep is called as on a GPU, with tensors of the CPU: Triton compiles what it is called with, by its own
rules for arguments, for a device that is pretended, and launches nothing.
"""

import io
import re
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from unittest import mock

import pytest
import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from fsrl.moments import sweep as moments_sweep
from fsrl.moments import triton_sweep
from fsrl.moments.plan import Shape
from fsrl.moments.sweep import POWERS, State

LANES = 32
# Of an H100's tile, and what the product pads it by.
WIDTH, PADDING = 8192, 48
# A multiprocessor has 65,536 registers: with as many a lane it holds 14 warps.
MOST_REGISTERS = 144


@dataclass
class Pretended:
    """As much of Triton's driver as it asks before it launches; the capability names the device."""

    capability: int

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, LANES)


@dataclass
class Compiled:
    """Its instructions by name, registers a lane, and bytes that did not fit them."""

    operations: Counter
    registers: int
    spilled: int


SETTINGS = (
    {},
    {"k": 0, "n_bins": 0},
    {"reading": "first"},
    {"reading": "some"},
    {"k": triton_sweep.MOST_EXTREMES, "n_bins": triton_sweep.MOST_SLOTS - 2},
    {"dtype": torch.float64},
)


def compiled(
    capability: int,
    k: int = 10,
    n_bins: int = 50,
    reading: str = "none",
    dtype: torch.dtype = torch.float32,
) -> Compiled:
    """What a sweep with these settings launches."""
    return _compiled(capability, k, n_bins, reading, dtype)


@cache
def _compiled(capability: int, k: int, n_bins: int, reading: str, dtype: torch.dtype) -> Compiled:
    launch, found = JITFunction.run, []

    def compile_only(kernel, *args, grid, warmup, **settings):
        found.append(launch(kernel, *args, grid=grid, warmup=True, **settings))

    shape = Shape(2, 1, WIDTH, k, n_bins, weight_bytes=4, item_bytes=dtype.itemsize)
    state = State.empty(shape, dtype, torch.device("cpu"))
    tile = torch.zeros(2, WIDTH + PADDING, dtype=dtype)
    columns = torch.arange(WIDTH) if reading == "some" else None
    vectors = (torch.ones(WIDTH, dtype=dtype), *torch.zeros(2, 2, dtype=dtype))
    driver.set_active(Pretended(capability))
    said = io.StringIO()
    with (
        mock.patch.object(JITFunction, "run", compile_only),
        mock.patch.object(knobs.nvidia, "dump_ptxas_log", True),
        redirect_stdout(said),
    ):
        if reading == "none":
            moments_sweep.fused_sweep(tile, WIDTH, 0, state)
        else:
            moments_sweep.fused_read_and_sweep(tile, columns, vectors, 0, state, tile.view(-1))
    (kernel,) = found
    assert kernel.asm["cubin"]
    return Compiled(
        Counter(re.findall(r"^\s*(?:@!?%p\d+ )?([a-z][\w.:]*)\s", kernel.asm["ptx"], re.M)),
        int(re.findall(r"Used (\d+) registers", said.getvalue())[0]),
        int(re.findall(r"(\d+) bytes spill stores", said.getvalue())[0]),
    )


def counted(found: Compiled, begin: str) -> int:
    """Instructions whose name begins so."""
    return sum(number for name, number in found.operations.items() if name.startswith(begin))


pytestmark = pytest.mark.parametrize("capability", [80, 90], ids="sm_{}".format)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_it_compiles_into_registers(capability, settings):
    found = compiled(capability, **settings)
    if settings.get("dtype") == torch.float64:
        assert found.spilled <= 64
    else:
        assert found.spilled == 0
    if settings.get("k", 10) <= 10:
        assert found.registers <= MOST_REGISTERS or settings.get("dtype") == torch.float64


def test_each_value_is_read_once(capability):
    """Four at a time where they lie side by side; one by one where a reading picks them."""
    plain, picked = compiled(capability), compiled(capability, reading="some")
    assert plain.operations["ld.global.v4.b32"] * 4 * LANES == triton_sweep.COLUMNS
    # Besides the row's unit and bins, and what the reading subtracts before and after.
    added = picked.operations["ld.global.b32"] - plain.operations["ld.global.b32"] - 2
    assert added * LANES == triton_sweep.COLUMNS


def test_only_the_state_is_written(capability):
    """By ordinary stores: the sums, two lists of values and ids, the counts."""
    assert counted(compiled(capability, k=0, n_bins=0), "st.global") == len(POWERS)
    for reading in ("none", "first", "some"):
        assert counted(compiled(capability, reading=reading), "st.global") == len(POWERS) + 4 + 1
        assert not counted(compiled(capability, reading=reading), "atom.global")
        assert not counted(compiled(capability, reading=reading), "red.")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_operation_rounds_by_itself(capability, dtype):
    """As in eager torch: a fused multiply-add would put a value at the edge of a bin into the next one."""
    operations = compiled(capability, reading="some", dtype=dtype).operations
    suffix = ".f32" if dtype == torch.float32 else ".f64"
    arithmetic = [name for name in operations if re.match("(fma|mad|mul|add|sub)\\b", name)]
    floating = [name for name in arithmetic if name.endswith((".f32", ".f64"))]
    assert f"mul.rn{suffix}" in floating
    # Without .rn the assembler may fuse them.
    assert all(re.match("(mul|add|sub)\\.rn\\.", name) for name in floating), floating
