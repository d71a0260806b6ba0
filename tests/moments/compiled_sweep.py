"""The kernel of `fsrl.moments.triton_sweep`, compiled for GPUs that are not here and executed without one;
test_triton_sweep.py runs this in a process of its own, so that no other test finds Triton.

The sweep is called as on a GPU, with tensors of the CPU: Triton compiles what it is called with, by its own
rules for arguments, for a device that is pretended, and launches nothing. What it makes of it,
`tests.fixtures.ptx_warp` executes.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from unittest import mock

import pytest
import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from fsrl.moments import triton_sweep
from fsrl.moments.sweep import POWERS
from tests.fixtures import ptx_warp
from tests.fixtures import sweep_examples as ex

CPU = torch.device("cpu")
CAPABILITIES = pytest.mark.parametrize("capability", [80, 90], ids="sm_{}".format)
# A tile of an H100; the kernel's blocks divide it.
WIDTH = 8192
# A multiprocessor has 65,536 registers: with as many a lane it holds 14 warps.
MOST_REGISTERS = 144
SETTINGS = (
    {},
    {"k": 0, "n_bins": 0},
    {"reading": "first"},
    {"reading": "some"},
    {"reading": "some", "widths": (WIDTH - 1,)},
    {"k": triton_sweep.MOST_EXTREMES, "n_bins": triton_sweep.MOST_SLOTS - 2},
    {"dtype": torch.float64},
)
EXECUTED = (
    "tiles of all widths",
    "ties",
    "one token is kept",
    "moments alone",
    "float64",
    "columns left out",
)

LARGEST = ex.Case(
    (64,), rows=1, kind="ties", k=triton_sweep.MOST_EXTREMES, n_bins=triton_sweep.MOST_SLOTS - 2
)


@dataclass
class Pretended:
    """As much of Triton's driver as it asks before it launches; the capability names the device."""

    capability: int

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, ptx_warp.LANES)


@contextmanager
def instead_of_launching(capability: int, do) -> Iterator[None]:
    """Within it a launch compiles and calls do(kernel, programs, arguments)."""
    run = JITFunction.run

    def compile_and_do(function, *arguments, grid, warmup, **settings):
        do(run(function, *arguments, grid=grid, warmup=True, **settings), grid[0], arguments)

    driver.set_active(Pretended(capability))
    with mock.patch.object(JITFunction, "run", compile_and_do):
        yield


def execute(kernel, programs: int, arguments: tuple) -> None:
    """On the CPU, what a launch would start."""
    tile, strides, columns, vectors, width, start, state = arguments
    passed = (tile, *strides, columns, *(vectors or ()), width)
    # What is None or 1 is compiled in; at the end Triton has two pointers of its own, to nothing here.
    passed = [part for part in passed if isinstance(part, torch.Tensor) or part not in (None, 1)]
    ptx_warp.launch(kernel.asm["ptx"], programs, [*passed, start, *state, 0, 0], state)


@dataclass
class Compiled:
    """Instructions of PTX by name, registers a lane, and bytes that did not fit them."""

    operations: Counter
    registers: int
    spilled: int

    def counted(self, begin: str) -> int:
        """Instructions whose name begins so."""
        return sum(number for name, number in self.operations.items() if name.startswith(begin))


@cache
def compiled(capability: int, **settings) -> Compiled:
    """What the sweep of a case, with its usual settings but for these, launches."""
    case = ex.Case(**({"widths": (WIDTH,), "k": 10, "n_bins": 50} | settings))
    found, said = [], io.StringIO()
    # Compiled anew: the assembler says nothing of what is at hand.
    triton_sweep._sweep.device_caches.clear()
    with (
        instead_of_launching(capability, lambda kernel, *_: found.append(kernel)),
        mock.patch.object(knobs.nvidia, "dump_ptxas_log", True),
        mock.patch.object(knobs.compilation, "always_compile", True),
        redirect_stdout(said),
    ):
        ex.swept(case, CPU, fused=True)
    (kernel,) = found
    assert kernel.asm["cubin"]
    names = re.findall(r"^\s*(?:@!?%p\d+ )?([a-z][\w.:]*)\s", kernel.asm["ptx"], re.M)
    registers = re.findall(r"Used (\d+) registers", said.getvalue())
    spilled = re.findall(r"(\d+) bytes spill stores", said.getvalue())
    return Compiled(Counter(names), int(registers[0]), int(spilled[0]))


@pytest.mark.parametrize("case", [ex.CASES[name] for name in EXECUTED] + [LARGEST], ids=str)
def test_the_compiled_code_gives_the_state_of_eager_torch_and_of_brute_force(case):
    """Its loads stay within what it was given, its stores within the state."""
    wide = ex.wider(case, 9)
    with instead_of_launching(90, execute):
        found = ex.swept(wide, CPU, fused=True)
    ex.assert_alike(found, ex.swept(wide, CPU, fused=False))
    ex.assert_alike(found, ex.by_brute_force(wide))


@CAPABILITIES
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_it_fits_the_registers(capability, settings):
    """All but a few bytes; in float32 and with aligned rows, as all tiles but the last have, all."""
    found = compiled(capability, **settings)
    assert found.spilled <= 64
    if settings in SETTINGS[:4]:
        assert found.spilled == 0 and found.registers <= MOST_REGISTERS


@CAPABILITIES
def test_each_value_is_loaded_once(capability):
    """Four at a time where they lie side by side; one by one where a reading picks them."""
    plain, picked = compiled(capability), compiled(capability, reading="some")
    assert plain.operations["ld.global.v4.b32"] * 4 * ptx_warp.LANES == triton_sweep.COLUMNS
    # Besides what the reading subtracts before and after.
    more = picked.operations["ld.global.b32"] - plain.operations["ld.global.b32"] - 2
    assert more * ptx_warp.LANES == triton_sweep.COLUMNS


@CAPABILITIES
def test_nothing_is_added_atomically_to_what_others_see(capability):
    """Ordinary stores of the sums, of two lists' values and ids, of the counts."""
    assert compiled(capability, k=0, n_bins=0).counted("st.global") == len(POWERS)
    for settings in ({}, {"reading": "first"}, {"reading": "some"}):
        found = compiled(capability, **settings)
        assert found.counted("st.global") == len(POWERS) + 4 + 1
        assert not found.counted("atom.global") and not found.counted("red.")


@CAPABILITIES
@pytest.mark.parametrize("settings", [{"reading": "some"}, {"dtype": torch.float64}], ids=str)
def test_every_operation_rounds_by_itself(capability, settings):
    """As in eager torch: a fused multiply-add would put a value at the edge of a bin into the next one."""
    names = compiled(capability, **settings).operations
    floating = [name for name in names if re.match(r"(fma|mad|mul|add|sub)\..*f(32|64)$", name)]
    assert {name.split(".")[0] for name in floating} == {"mul", "add", "sub"}
    # Without .rn the assembler may fuse them.
    assert all(".rn." in name for name in floating), floating
