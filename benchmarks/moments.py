"""Speed, memory and accuracy of `fsrl.moments` beside the bare product and beside other ways to get there.

One process, every contender in turn, medians over the rounds; peak memory of each in a process of its own.

    python benchmarks/moments.py --output benchmarks/results/moments_cpu.json
    python benchmarks/moments.py --quick
    python benchmarks/moments.py --device cuda
"""

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from moments_contenders import D_MODEL, D_VOCAB, MODES, Contender, contenders, ours, share, weights
from torch import Tensor

from fsrl.moments import engine
from fsrl.moments import products as moments_products


def seconds(contender: Contender, W_dec: Tensor, W_U: Tensor) -> float:
    gc.collect()
    if W_U.is_cuda:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        contender(W_dec, W_U)
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end)) / 1000
    begin_s = time.perf_counter()
    contender(W_dec, W_U)
    return time.perf_counter() - begin_s


def timings(n: int, rounds: int, device: str) -> dict[str, dict[str, object]]:
    W_dec, W_U = weights(n, device)
    runs: dict[str, list[float]] = {name: [] for name in contenders(device)}
    rows = {name: share(name, n) for name in runs}
    for name, contender in contenders(device).items():  # compilers and libraries start here
        seconds(contender, W_dec[: min(rows[name], 256)], W_U)
    for _ in range(rounds):
        for name, contender in contenders(device).items():
            runs[name].append(seconds(contender, W_dec[: rows[name]], W_U))
    medians = {name: statistics.median(times) * n / rows[name] for name, times in runs.items()}
    reference = medians["torch.mm product, tiled, fp32"]
    return {
        name: {
            "seconds": medians[name],
            "ratio_to_torch_mm": medians[name] / reference,
            "rows_timed": rows[name],
            "scaled_to": n,
            "runs": runs[name],
        }
        for name in runs
    }


def errors(device: str, n: int = 512) -> dict[str, dict[str, float]]:
    """Largest error against fp64: relative for std and kurtosis, absolute for skewness."""
    W_dec, W_U = weights(n, device)
    exact = engine.logit_moments(W_dec, W_U, precision="fp64", n_extremes=0, n_bins=0)
    found = {}
    for precision in MODES[device][1:]:
        result = engine.logit_moments(W_dec, W_U, precision=precision, n_extremes=0, n_bins=0)
        found[precision] = {
            "std": (result.std / exact.std - 1).abs().max().item(),
            "skewness": (result.skewness - exact.skewness).abs().max().item(),
            "kurtosis": (result.kurtosis / exact.kurtosis - 1).abs().max().item(),
        }
    return found


def peak_bytes() -> int:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024


def memory(n: int, device: str) -> dict[str, dict[str, float]]:
    """MiB above the inputs at the highest: each contender in its own process, at its share of the rows."""
    found = {}
    for name in contenders(device):
        rows = share(name, n)
        command = [sys.executable, __file__, "--peak-of", name, "--n", str(rows), "--device", device]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = {"mib_above_inputs": float(done.stdout), "rows": rows}
    return found


def peak_of(name: str, n: int, device: str) -> float:
    W_dec, W_U = weights(n, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        contenders(device)[name](W_dec, W_U)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of making the inputs
    before = peak_bytes()
    contenders(device)[name](W_dec, W_U)
    return (peak_bytes() - before) / 2**20


def scaling(sizes: list[int], rounds: int, device: str) -> dict[str, object]:
    """Seconds of fp32 with everything, by n and (on a CPU) by threads."""
    contender = ours("fp32")
    W_dec, W_U = weights(max(sizes), device)

    def median(n: int) -> float:
        return statistics.median(seconds(contender, W_dec[:n], W_U) for _ in range(rounds))

    median(min(sizes))  # the first call loads compiled code
    found: dict[str, object] = {"seconds_by_n": {n: median(n) for n in sizes}}
    threads = torch.get_num_threads()
    if device == "cpu":
        by_threads = {}
        for count in range(1, threads + 1):
            torch.set_num_threads(count)
            by_threads[count] = median(min(sizes[-1], 4 * sizes[0]))
        torch.set_num_threads(threads)
        found["seconds_by_threads"] = by_threads
    return found


def machine(device: str) -> dict[str, object]:
    capabilities = torch.cpu.get_capabilities()
    names = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "l2_cache_size", "num_physical_cores")
    return {
        "cpu": capabilities.get("cpu_name", platform.processor()),
        "capabilities": {name: capabilities.get(name) for name in names},
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "numba")},
        "python": platform.python_version(),
        "auto_means": moments_products.fastest_exact(torch.device(device)),
    }


def first_call() -> dict[str, float]:
    """Seconds of the first tiny call of a process: with numba's cache filled, and with an empty one."""
    code = (
        "import time, torch; from fsrl.moments import engine; a = torch.randn(4, 4);"
        "begin = time.perf_counter(); engine.logit_moments(a, a); print(time.perf_counter() - begin)"
    )
    found = {}
    with tempfile.TemporaryDirectory() as empty:
        for name in ("compiled", "cached"):
            environment = os.environ | {"NUMBA_CACHE_DIR": empty}
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found[name] = float(done.stdout)
    return found


def show(report: dict[str, object]) -> None:
    peaks = report.get("memory", {})
    print(
        json.dumps({key: part for key, part in report.items() if key not in ("timings", "memory")}, indent=1)
    )
    print(f"{'':36} {'seconds':>9} {'ratio':>7} {'MiB above inputs':>20}")
    for name, row in report.get("timings", {}).items():
        note = "" if row["rows_timed"] == row["scaled_to"] else f"  (time from {row['rows_timed']} rows)"
        peak = f"{peaks[name]['mib_above_inputs']:.0f} at n={peaks[name]['rows']}" if name in peaks else "-"
        print(f"{name:36} {row['seconds']:9.2f} {row['ratio_to_torch_mm']:7.2f} {peak:>20}{note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="under a minute: 1536 rows, one round")
    parser.add_argument("--n", type=int, default=24576, help="features")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the report here, as JSON")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=["timings", "errors", "memory", "scaling"],
        help="only these; added to --output",
    )
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        print(peak_of(options.peak_of, options.n, options.device))
        return
    n, rounds = (1536, 1) if options.quick else (options.n, options.rounds)
    sizes = [768, 1536] if options.quick else [3072, 12288, 49152, 98304]
    parts: dict[str, Callable[[], object]] = {
        "timings": lambda: timings(n, rounds, options.device),
        "errors": lambda: errors(options.device, 128 if options.quick else 512),
        "memory": lambda: memory(n, options.device),
        "scaling": lambda: scaling(sizes, rounds, options.device),
    }
    wanted = options.parts or [part for part in parts if part != "memory" or not options.quick]
    report: dict[str, object] = {}
    if options.output and options.output.exists() and options.parts:
        report = json.loads(options.output.read_text(encoding="utf-8"))
    report |= {
        "shape": {"n": n, "d_model": D_MODEL, "d_vocab": D_VOCAB, "rounds": rounds},
        "machine": machine(options.device),
        "first_call_seconds": first_call(),
    }
    report |= {part: parts[part]() for part in wanted}
    show(report)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
