"""Where the time of `fsrl.moments` goes, part by part: why a bound is met or missed on the machine at hand.

One thread, so that parts add up; the engine's own pieces, at the full vocabulary, timed on fewer features and
scaled to an SAE of GPT-2; `peak_gflops`: what the bare product reaches on operands that stay in the cache.

    python benchmarks/moments_profile.py --output benchmarks/results/moments_profile_cpu.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from moments_contenders import D_MODEL, D_VOCAB, MODES, weights

from fsrl.moments import plan as moments_plan
from fsrl.moments import products as moments_products
from fsrl.moments import readings as moments_readings
from fsrl.moments import sweep as moments_sweep
from fsrl.moments import units as moments_units
from fsrl.moments import vocabulary as moments_vocabulary

CPU = torch.device("cpu")
FULL = 24576


def seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


class Parts:
    """The engine's pieces for one precision on `n` features, one after the other."""

    def __init__(self, precision: str, n: int) -> None:
        self.precision, self.mode = precision, moments_products.MODES[precision]
        self.W_dec, self.W_U = weights(n, "cpu")
        self.tile = moments_plan.tile_shape(moments_plan.cache_bytes(CPU), self.mode.dtype.itemsize)
        self.starts = range(0, D_VOCAB, self.tile[1])
        self.buffer = torch.empty(
            self.tile[0] * (self.tile[1] + moments_units.PADDING), dtype=self.mode.dtype
        )
        self.sweep = moments_sweep.sweep_for(CPU)

    def know(self, *, with_gram: bool) -> None:
        self.vocabulary = moments_vocabulary.measure(self.W_U, CPU, self.tile[1], map)
        moments_readings.focus(self.vocabulary, moments_readings.Reading(), map, with_gram=with_gram)

    def prepare(self) -> None:
        self.columns = [
            moments_products.prepare_columns(
                self.precision,
                self.vocabulary.columns(start, min(start + self.tile[1], D_VOCAB)),
                self.tile[0],
            )
            for start in self.starts
        ]

    def run(self, state: moments_sweep.State | None) -> None:
        """The product of every tile; with a state, what is kept of it too."""
        for first in range(0, len(self.W_dec), self.tile[0]):
            rows = slice(first, first + self.tile[0])
            operands = moments_products.prepare_rows(self.precision, self.W_dec[rows].double())
            block = None if state is None else state.block(rows)
            for start, columns in zip(self.starts, self.columns, strict=True):
                product = moments_products.multiply(operands, columns, self.buffer)
                if block is not None:
                    self.sweep(product, min(self.tile[1], D_VOCAB - start), start, block)


def profile(precision: str, n: int, rounds: int) -> dict[str, float]:
    """Seconds by part, those that grow with the features scaled to a full SAE."""
    parts = Parts(precision, n)
    item = parts.mode.dtype.itemsize

    def state(extremes: int, bins: int) -> moments_sweep.State:
        shape = moments_plan.Shape(
            n, D_MODEL, D_VOCAB, extremes, bins, moments_products.weight_bytes(precision), item
        )
        return moments_sweep.State.empty(shape, parts.mode.dtype, CPU)

    with moments_products.own_units(precision):
        once = {
            "W_U's mean and spread": seconds(lambda: parts.know(with_gram=False)),
            "W_U's Gram matrix, for the histogram's edges": seconds(lambda: parts.know(with_gram=True)),
            "W_U centred and packed": seconds(parts.prepare),
        }
        runs: dict[str, list[float]] = {"product": [], "moments": [], "all": []}
        parts.run(state(10, 50))  # compiled code is loaded here
        for _ in range(rounds):
            runs["product"].append(seconds(lambda: parts.run(None)))
            runs["moments"].append(seconds(lambda: parts.run(state(0, 0))))
            runs["all"].append(seconds(lambda: parts.run(state(10, 50))))
    of = {name: statistics.median(times) * FULL / n for name, times in runs.items()}
    return once | {
        "products of the tiles": of["product"],
        "power sums": of["moments"] - of["product"],
        "extremes and histogram": of["all"] - of["moments"],
    }


def peak(precision: str) -> float:
    """GFLOP/s of one thread on one tile's product, operands in the cache."""
    parts = Parts(precision, 256)
    parts.know(with_gram=False)
    columns = moments_products.prepare_columns(
        precision, parts.vocabulary.columns(0, parts.tile[1]), parts.tile[0]
    )
    operands = moments_products.prepare_rows(precision, parts.W_dec[: parts.tile[0]].double())
    repeats = 200
    with moments_products.own_units(precision):
        moments_products.multiply(operands, columns, parts.buffer)
        taken = seconds(
            lambda: [moments_products.multiply(operands, columns, parts.buffer) for _ in range(repeats)]
        )
    return 2 * parts.tile[0] * parts.tile[1] * D_MODEL * repeats / taken / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=2048, help="features to time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the report here, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = {}
    for precision in MODES["cpu"][1:]:
        parts = profile(precision, options.n, options.rounds)
        report[precision] = {"seconds": parts, "peak_gflops": peak(precision)}
        print(f"{precision}: {peak(precision):.0f} GFLOP/s on one tile; {sum(parts.values()):.1f} s in all")
        for name, taken in parts.items():
            print(f"  {taken:8.2f} s  {100 * taken / sum(parts.values()):5.1f} %  {name}")
    if options.output:
        shape = {"features": FULL, "features_timed": options.n, "d_model": D_MODEL, "d_vocab": D_VOCAB}
        known = torch.cpu.get_capabilities()
        machine = {"cpu": known.get("cpu_name"), "l2_cache_size": known.get("l2_cache_size"), "threads": 1}
        options.output.write_text(
            json.dumps({"shape": shape, "machine": machine, "profile": report}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
