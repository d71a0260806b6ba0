"""What the GPU path computes and how long it takes, by `benchmarks/gpu_check.sh`.

tests    `pytest -k cuda`: among them every heavy stage of the tiny study, its tables beside the CPU's
moments  one SAE of GPT-2 small's shapes in every precision: errors against float64, time and rate beside
         those of the bare product in the same precision and beside eager torch on each tile, memory above the
         inputs; which sweep the device takes, and why that is not the fused one
saes     moments, extremes and histograms of 13 SAEs of gpt2-small-res-jb's shapes, in three views, and the
         same with eager torch on each tile
nulls    isotropic directions in three views, and one layer's three kinds
dag      the full-shape study (gpt2_shapes.py) from its cache to the paper with this device: wall time, and
         that of its heavy jobs, measured effects of all 13 hooks among them

Weights are random. A part that fails or runs out of time says so in the table and in the JSON, and the exit
status is 1; the other parts still run. The JSON is written after each part.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from fsrl import devices, files
from fsrl.moments import engine, plan, products
from fsrl.moments import sweep as moments_sweep
from fsrl.moments.formulas import Typical
from fsrl.nulls import frames as nulls
from fsrl.weights.matrices import Decoder, Unembedding

ROOT = Path(__file__).parents[1]
VIEWS: dict[str, dict[str, Any]] = {"main": {}, "trained": {"tokens": "trained"}, "cosine": {"cosine": True}}
KINDS = ("second_moment", "spectrum")
ROUNDS, CHECKED_ROWS, LEFT_OUT = 3, 512, 300
HEAVY_JOBS = ("compute_null_moments", "compute_layer_nulls", "compute_moments", "measure_effects")


@dataclass(frozen=True)
class Sizes:
    """d_sae, d_model, d_vocab; SAEs of a study; draws, isotropic and of a layer's kinds."""

    features: int = 24_576
    d_model: int = 768
    tokens: int = 50_257
    saes: int = 13
    draws: int = 100_000
    layer_draws: int = 20_000


TINY = Sizes(features=96, d_model=16, tokens=1_000, saes=2, draws=1_000, layer_draws=500)


class Check:
    """The parts, on one device at one size; `deadline`, in time.monotonic's seconds, is for the slow ones."""

    def __init__(self, device: str, sizes: Sizes, deadline: float) -> None:
        self.device, self.sizes, self.deadline = device, sizes, deadline
        self.tiny = sizes == TINY

    def normal(self, *shape: int, seed: int) -> torch.Tensor:
        """Random weights, the same on every device."""
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def unembedding(self) -> Unembedding:
        """Of random weights, some of its tokens undertrained."""
        W_U = self.normal(self.sizes.d_model, self.sizes.tokens, seed=0)
        trained = torch.arange(self.sizes.tokens) >= min(LEFT_OUT, self.sizes.tokens // 10)
        return Unembedding(W_U, W_U.clone(), tuple(map(str, range(self.sizes.tokens))), None, trained, {})

    def decoder(self, number: int) -> Decoder:
        """An SAE of random directions of length 1."""
        rows = self.normal(self.sizes.features, self.sizes.d_model, seed=1 + number)
        return Decoder(rows / rows.norm(dim=1, keepdim=True), None, "hook", number, str(number), {})

    def seconds(self, call: Callable[[], Any], rounds: int = ROUNDS) -> float:
        """The median over the rounds, after one that nobody times, the device's queue included."""
        taken = []
        for number in range(rounds + 1):
            begin = time.perf_counter()
            call()
            if self.device == "cuda":
                torch.cuda.synchronize()
            taken += [time.perf_counter() - begin] if number else []
        return statistics.median(taken)

    def tests(self) -> dict[str, Any]:
        """pytest -k cuda; at tiny size those of one file."""
        where = "tests/moments/test_products.py" if self.tiny else "tests"
        command = [sys.executable, "-m", "pytest", "-q", "-k", "cuda", where]
        done = self.finished(command, dict(os.environ))
        summary = done.stdout.strip().splitlines()[-1]
        if " passed" not in summary:
            raise RuntimeError(f"no test ran: {summary}")
        return {"summary": summary}

    def moments(self) -> dict[str, Any]:
        """By precision."""
        W_dec, W_U = self.decoder(0).W_dec, self.unembedding().folded
        exact = engine.logit_moments(W_dec[:CHECKED_ROWS], W_U, precision="fp64", n_extremes=0, n_bins=0)
        modes = dict.fromkeys(products.meant(mode, self.device) for mode in products.MODES)
        found: dict[str, Any] = {"auto_means": products.meant("auto", self.device), "sweep": self.sweep()}
        for mode in modes:
            result = engine.logit_moments(W_dec[:CHECKED_ROWS], W_U, precision=mode, n_extremes=0, n_bins=0)
            found[mode] = self.mode_seconds(mode, W_dec, W_U) | {
                "error_std": (result.std / exact.std - 1).abs().max().item(),
                "error_skewness": (result.skewness - exact.skewness).abs().max().item(),
                "error_kurtosis": (result.kurtosis / exact.kurtosis - 1).abs().max().item(),
            }
        return found

    def mode_seconds(self, mode: str, W_dec: torch.Tensor, W_U: torch.Tensor) -> dict[str, Any]:
        """Times, rate and memory of one precision."""
        # Double precision is the oracle and not the way: on an eighth of the rows, scaled up.
        share = 8 if mode == "fp64" and not self.tiny else 1
        rows = W_dec[: len(W_dec) // share]

        def run(**parts: int) -> None:
            engine.logit_moments(rows, W_U, precision=mode, **parts)

        def seconds() -> tuple[float, float]:
            return self.seconds(lambda: run(n_extremes=0, n_bins=0)), self.seconds(run)

        alone, everything = seconds()
        with eager():
            alone_eager, everything_eager = seconds()
        bare = self.seconds(lambda: self.bare(mode, rows, W_U))
        operations = 2 * rows.numel() * W_U.shape[1]
        return {
            "rows_timed": len(rows),
            "seconds_moments_alone": share * alone,
            "seconds_moments_alone_eager": share * alone_eager,
            "seconds_with_extremes_and_histogram": share * everything,
            "seconds_with_extremes_and_histogram_eager": share * everything_eager,
            "seconds_bare_product": share * bare,
            "products_with_everything": everything / bare,
            "products_with_everything_eager": everything_eager / bare,
            "tflop_per_s_with_everything": operations / everything / 1e12,
            "mib_above_inputs": self.peak_mib(run),
        }

    def sweep(self) -> str:
        """Whether the device runs the fused sweep, and if not, why."""
        try:
            moments_sweep.try_fused(torch.device(self.device))
        except Exception as error:
            return f"not fused: {type(error).__name__}: {error}"
        return "fused"

    def bare(self, mode: str, W_dec: torch.Tensor, W_U: torch.Tensor) -> None:
        """The product alone, in the tiles that the engine takes."""
        item = products.MODES[mode].dtype.itemsize
        rows, tokens = plan.tile_shape(plan.cache_bytes(torch.device(self.device)), item)
        with products.own_units(mode):
            blocks = [products.prepare_rows(mode, block.double()) for block in W_dec.split(rows)]
            for columns in W_U.split(tokens, dim=1):
                prepared = products.prepare_columns(mode, columns.double(), rows)
                for block in blocks:
                    products.product(block, prepared)

    def peak_mib(self, call: Callable[[], Any]) -> float | None:
        """Memory of the GPU above what is held before; None on a CPU."""
        if self.device != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20

    def saes(self) -> dict[str, Any]:
        """All SAEs of a study."""
        unembedding = self.unembedding()
        made: list[float] = []

        def decoders() -> Iterator[Decoder]:
            for number in range(self.sizes.saes):
                begin = time.perf_counter()
                decoder = self.decoder(number)
                made.append(time.perf_counter() - begin)
                yield decoder

        def run() -> None:
            for _ in engine.moments_of_decoders(decoders(), unembedding, VIEWS, precision="auto"):
                pass

        def seconds() -> float:
            made.clear()
            taken = self.seconds(run, rounds=1)
            return taken - sum(made[self.sizes.saes :])

        taken = seconds()
        with eager():
            taken_eager = seconds()
        return {
            "seconds": taken,
            "seconds_eager": taken_eager,
            "saes": self.sizes.saes,
            "views": list(VIEWS),
        }

    def nulls(self) -> dict[str, Any]:
        """Both kinds of job."""
        unembedding, decoder, sizes = self.unembedding(), self.decoder(0), self.sizes
        typical = dict.fromkeys(VIEWS, Typical(3.0, 1.5, 52.5))
        isotropic = self.seconds(
            lambda: nulls.isotropic_of_views(unembedding, VIEWS, draws=sizes.draws, seed=0), rounds=1
        )
        settings = {"kinds": KINDS, "draws": sizes.layer_draws, "seed": 0, "typical": typical}
        layer = self.seconds(
            lambda: nulls.of_layer_in_views(decoder, unembedding, VIEWS, **settings), rounds=1
        )
        return {"seconds_isotropic": isotropic, "seconds_a_layer": layer}

    def dag(self) -> dict[str, Any]:
        """The whole workflow."""
        with tempfile.TemporaryDirectory() as folder:
            study, config, environment = self.study(Path(folder))
            command = [sys.executable, "-m", "snakemake", "--cores", str(os.cpu_count()), "--forceall"]
            command += ["--configfile", str(config), "--config", f"device={self.device}"]
            begin = time.perf_counter()
            self.finished(command, environment)
            taken = time.perf_counter() - begin
        return {"seconds": taken, "seconds_of_jobs": job_seconds(study)}

    def study(self, folder: Path) -> tuple[str, Path, dict[str, str]]:
        """A study's name, its config, and the environment to build it in."""
        environment = dict(os.environ)
        if self.tiny:
            sys.path.insert(0, str(ROOT))
            from tests.fixtures import tiny_study

            tiny_study.build(folder / "tiny")
            (folder / "config.json").write_text(json.dumps(tiny_study.config(str(folder / "tiny"))))
            return "tiny", folder / "config.json", environment
        shapes = [sys.executable, "benchmarks/gpt2_shapes.py", "--cache", str(folder / "cache")]
        self.finished(shapes, environment)
        environment |= {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder / "cache")}
        return "random-weights", ROOT / "benchmarks/gpt2_shapes.yaml", environment

    def finished(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """A program that ended well, within the time that is left."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=max(1.0, self.deadline - time.monotonic()),
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise RuntimeError(f"{' '.join(command[1:4])} ended with {done.returncode}: {said[-1:]}")
        return done


def eager() -> AbstractContextManager[Any]:
    """Within it every tile takes eager torch, as where there is no compiled sweep."""
    return mock.patch.multiple(
        moments_sweep,
        sweep_for=lambda device: moments_sweep.torch_sweep,
        read_and_sweep_for=lambda device: moments_sweep.torch_read_and_sweep,
    )


def job_seconds(study: str) -> dict[str, float]:
    """Wall seconds of the heavy jobs of a study and of its model, those of one rule added up."""
    found = dict.fromkeys(HEAVY_JOBS, 0.0)
    folders = [ROOT / "results/benchmarks" / name for name in (study, "models")]
    for path in (path for folder in folders for path in folder.rglob("*.tsv")):
        if path.stem in found:
            with path.open(newline="") as file:
                found[path.stem] += sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
    return found


def rows(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The table's rows: every number and text of a part, by its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from rows(inner, f"{name} {key}".strip())
    else:
        yield name, f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run the parts, print the table, write the JSON."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/gpu_check.json")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes: does the script run?")
    parser.add_argument("--minutes", type=float, default=10.0, help="for everything")
    names = ("tests", "moments", "saes", "nulls", "dag")
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    try:
        device = devices.pick(options.device)
    except ValueError as error:
        sys.exit(f"error: {error}")
    sizes = TINY if options.tiny else Sizes()
    check = Check(device, sizes, time.monotonic() + 60 * options.minutes)
    report: dict[str, Any] = {
        "machine": {
            **devices.described(device),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "sizes": vars(sizes),
    }
    failed = False
    for part in options.parts:
        begin = time.perf_counter()
        try:
            report[part] = getattr(check, part)()
        except (RuntimeError, ValueError, OSError, subprocess.TimeoutExpired) as error:
            failed, report[part] = True, {"failed": " ".join(str(error).split())}
        report[part]["part_seconds"] = time.perf_counter() - begin
        with files.atomic_write(options.output) as path:
            Path(path).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, value in rows(report):
        print(f"{name:60} {value}")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
