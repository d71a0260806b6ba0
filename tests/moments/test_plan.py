"""How the pass is cut up leaves no trace: threads, panels and tiles; the memory limit is kept."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.moments import engine
from fsrl.moments import plan as moments_plan
from tests.fixtures.moment_examples import assert_same_bytes, random_matrices, tiles

MIB = moments_plan.MIB


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
def test_threads_and_panels_change_no_byte(precision, threads, monkeypatch):
    weights = random_matrices(n=100, d_model=40, d_vocab=3001)
    threads(1)
    with tiles(16, 64):
        expected = engine.logit_moments(*weights, precision=precision)
        threads(3)
        assert_same_bytes(engine.logit_moments(*weights, precision=precision), expected)
        assert torch.get_num_threads() == 3
        monkeypatch.setattr(moments_plan, "panel_tokens", lambda *_: 5 * 64)
        assert_same_bytes(engine.logit_moments(*weights, precision=precision), expected)


@pytest.mark.parametrize(
    ("cache", "item_bytes", "expected"),
    [
        (MIB, 4, (256, 512)),
        (2 * MIB, 4, (512, 512)),
        (256 * 1024, 4, (128, 256)),
        (MIB, 8, (256, 256)),
        (1, 4, (8, 8)),
    ],
)
def test_a_tile_fills_half_the_cache(cache, item_bytes, expected):
    assert moments_plan.tile_shape(cache, item_bytes) == expected


def test_a_machine_that_hides_its_cache_gets_the_default(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert moments_plan.cache_bytes(torch.device("cpu")) == moments_plan.DEFAULT_CACHE


GPT2 = moments_plan.Shape(
    n=24576, d_model=768, d_vocab=50257, n_extremes=10, n_bins=50, weight_bytes=4, item_bytes=4
)


def test_panels_shrink_with_the_limit_down_to_a_clear_error():
    panels = [moments_plan.panel_tokens(GPT2, (256, 512), 2, limit * MIB) for limit in (4000, 350, 320)]
    assert panels[0] >= GPT2.d_vocab > panels[1] > panels[2] >= 512
    assert all(panel % 512 == 0 for panel in panels)
    assert panels[1] < moments_plan.panel_tokens(GPT2, (256, 512), 2, None)
    with pytest.raises(
        FsrlError, match=r"memory_limit is 50 MiB; this shape on 2 threads needs at least \d+ MiB"
    ):
        moments_plan.panel_tokens(GPT2, (256, 512), 2, 50 * MIB)


def test_the_least_limit_that_the_error_names_is_enough():
    with pytest.raises(FsrlError) as refused:
        moments_plan.panel_tokens(GPT2, (256, 512), 2, 0)
    least = int(str(refused.value).split("at least ")[1].split(" MiB")[0])
    assert moments_plan.panel_tokens(GPT2, (256, 512), 2, least * MIB) >= 512


def test_every_reading_takes_memory():
    limit = 400 * MIB
    one, three = (
        moments_plan.panel_tokens(replace(GPT2, readings=readings), (256, 512), 2, limit)
        for readings in (1, 3)
    )
    assert one > three >= 512
    # Two more states: ten extremes a side (value, id, copies in the result), 52 slots, sums and means.
    states = 2 * GPT2.n * (2 * 10 * (4 + 8 + 8) + 52 * 16 + 112)
    assert (one - three) * GPT2.d_model * GPT2.weight_bytes > states * 0.8


def test_logit_moments_refuses_a_limit_it_cannot_keep():
    with pytest.raises(FsrlError, match="memory_limit is 0 MiB"):
        engine.logit_moments(*random_matrices(n=3), memory_limit=0)


@pytest.mark.parametrize("count", [1, 2])
def test_workers_keep_the_order_pass_errors_on_and_restore_the_threads(count, threads):
    threads(count)
    with moments_plan.workers(count) as in_order:
        assert list(in_order(lambda item: item**2, range(50))) == [item**2 for item in range(50)]
        assert list(in_order(lambda _: torch.get_num_threads(), range(6))) == [1] * 6
    assert torch.get_num_threads() == count
    with pytest.raises(ZeroDivisionError), moments_plan.workers(count) as in_order:
        list(in_order(lambda item: 1 / (item - 3), range(50)))
    assert torch.get_num_threads() == count


PEAK = """
    import torch
    from fsrl.moments import engine as moments
    torch.set_num_threads({threads})
    W_dec, W_U = torch.randn({n}, 256), torch.randn(256, 50257)
    def peak():  # ru_maxrss would count what the parent held when it forked
        line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    some = torch.arange(1, 50257)
    readings = [moments.Reading(), moments.Reading(some), moments.Reading(cosine=True)][:{readings}]
    before = peak()
    moments.logit_moments_of_readings(W_dec, W_U, readings, precision="{precision}", memory_limit={limit})
    print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("precision", "limit", "readings"),
    [("fp32", 240, 1), ("fp64", 250, 1), ("fp32", 280, 1), ("fp32", 260, 3)],
)
def test_the_peak_of_a_process_stays_below_the_limit(precision, limit, readings, threads):
    """The product alone would take 400 MB in float32, the prepared W_U 50 to 100 MB."""

    def peak(n: int) -> int:
        code = PEAK.format(n=n, threads=threads, precision=precision, readings=readings, limit=limit * MIB)
        command = [sys.executable, "-c", textwrap.dedent(code)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    peak(1)  # the first call on a machine compiles, which takes memory of its own
    assert 0 < peak(2000) < limit * MIB
