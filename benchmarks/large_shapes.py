"""CPU time and memory of the stages that need no model, at the shapes of several, on made-up weights.

    python benchmarks/large_shapes.py --folder FOLDER                      # 262,144 tokens, d_model 2,304
    python benchmarks/large_shapes.py --folder FOLDER --shape gpt2-small --line --output FILE
    python benchmarks/large_shapes.py --folder FOLDER --tokens 65536 --d-model 1152
    python benchmarks/large_shapes.py --table FILE     # what FILE holds, as the docs show it

Writes W_U, a decoder, a model of one block and some tables, then runs each stage in a process of its own, on
`--rows` features or directions. With --line on a quarter of them as well: what a stage takes is a line in
their number, and its CPU time for all of the shape's is given too; stages that compare every feature with
every other run on all of them. Wall time is not given: it depends on what else the machine does. Memory: the
peak of all that is resident, pages of files among it, which the kernel takes back when it needs them, and of
what it must hold (anonymous).
Linux only. The weights stay in the folder.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import large_tables
import large_weights
from large_weights import Shape

SHAPES = {
    "pythia-70m": Shape(50_277, 512, 32_768),
    "gpt2-small": Shape(50_257, 768, 24_576),
    "gemma-2-2b": Shape(256_000, 2_304, 16_384),
    "llama-3.1-8b": Shape(128_256, 4_096, 32_768),
    "largest": Shape(262_144, 2_304, 16_384),
}
# What export draws beside `--rows` directions.
LEAST_DRAWS = 1000
# How many null directions the default config has a stage draw; None: it is an SAE's features that count.
STAGES: dict[str, int | None] = {
    "export": 20_000 - LEAST_DRAWS,
    # Those that bound the types, and fresh ones; a layer has two kinds of its own.
    "nulls": 100_000 + 20_000,
    "layer_nulls": 2 * 20_000 + 20_000,
    "moments": None,
    "enrichment": None,
    "null_p_values": None,
    "scores": None,
    "confidence": None,
    "axis_share": None,
    "clusters": None,
    "directions": None,
    "token_sets": None,
    # Of tables (large_tables.py).
    "types": None,
    "summary": None,
    "claims": None,
    "browser": None,
    "dataset": None,
}
# What a model needs once; all else each of its SAEs.
ONCE = ("export", "nulls", "token_sets")
# Whose time is no line in the number of rows.
WHOLE = ("clusters", "directions", "token_sets")
VIEWS: dict[str, dict[str, Any]] = {"main": {}, "trained": {"tokens": "trained"}}
SET_DRAWS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="print the table of a JSON, and measure nothing"
    )
    parser.add_argument("--shape", choices=SHAPES, default="largest")
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--d-model", type=int)
    parser.add_argument("--rows", type=int, default=1024, help="features or draws of the larger run")
    parser.add_argument("--line", action="store_true", help="times of a whole SAE, too")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--output", type=Path, help="JSON that the shape's results are added to")
    parser.add_argument("--stage", choices=(*STAGES, "write"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.table:
        saved = json.loads(asked.table.read_text())
        print(totals(saved), table(saved), sep="\n\n")
        return
    if not asked.folder:
        parser.error("give --folder, or --table")
    shape = SHAPES[asked.shape]
    asked.tokens, asked.d_model = asked.tokens or shape.tokens, asked.d_model or shape.d_model
    if asked.stage == "write":
        large_weights.write(asked.folder, Shape(asked.tokens, asked.d_model, shape.features))
        large_tables.write(asked.folder, shape.features)
    elif asked.stage:
        print(json.dumps(peak(lambda: run(asked))))
    else:
        every(asked, shape)


def every(asked: argparse.Namespace, shape: Shape) -> None:
    """All stages, a line each; into the file where one is asked for."""
    given = ["--tokens", str(asked.tokens), "--d-model", str(asked.d_model), "--shape", asked.shape]
    child(asked, *given, "--stage", "write")
    place = asked.output
    saved = json.loads(place.read_text()) if place and place.exists() else {"machine": machine()}
    about = {"tokens": asked.tokens, "d_model": asked.d_model, "features": shape.features, "stages": {}}
    of_shape = saved.setdefault("shapes", {}).setdefault(asked.shape, about)
    for stage in asked.stages:

        def taken(rows: int, stage: str = stage) -> dict[str, Any]:
            of_stage: dict[str, Any] = json.loads(child(asked, *given, "--stage", stage, "--rows", str(rows)))
            return of_stage | {"rows": rows}

        found = taken(shape.features if stage in WHOLE else asked.rows)
        if asked.line and stage not in WHOLE:
            less = taken(asked.rows // 4)
            each = (found["cpu_s"] - less["cpu_s"]) / (asked.rows - asked.rows // 4)
            whole = STAGES[stage] or shape.features
            cpu_s = round(found["cpu_s"] + max(each, 0) * (whole - asked.rows), 1)
            found |= {"less": less, "whole": whole, "cpu_s_of_whole": cpu_s}
        of_shape["stages"][stage] = found
        print(stage, json.dumps(found), flush=True)
        if place:
            place.write_text(json.dumps(saved, indent=1) + "\n")


def totals(saved: dict[str, Any]) -> str:
    """A row a shape of which all was measured: minutes of CPU once a model and for each SAE, and the largest
    anonymous memory.
    """
    lines = [
        ["shapes of", "vocabulary", "d_model", "features", "once", "each SAE", "memory"],
        ["---"] * 7,
    ]
    for name, one in of_shapes(saved).items():
        stages = one["stages"]
        if set(stages) != set(STAGES):
            continue
        minutes = [
            sum(seconds(found) for stage, found in stages.items() if (stage in ONCE) == once) / 60
            for once in (True, False)
        ]
        most = max(found["anonymous_gib"] for found in stages.values())
        sizes = [f"{one[size]:,}" for size in ("tokens", "d_model", "features")]
        lines.append([name, *sizes, *(f"{time:.0f} min" for time in minutes), f"{most:.1f} GiB"])
    return markdown(lines)


def table(saved: dict[str, Any]) -> str:
    """A row a stage, a column a shape: CPU time of all rows, anonymous memory and (resident) in GiB."""
    shapes = of_shapes(saved)
    lines = [["stage", *shapes], ["---"] * (len(shapes) + 1)]
    for stage in STAGES:
        found = [one["stages"].get(stage) for one in shapes.values()]
        lines.append([stage, *("not measured" if one is None else cell(one) for one in found)])
    return markdown(lines)


def of_shapes(saved: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: saved["shapes"][name] for name in SHAPES if name in saved["shapes"]}


def markdown(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def seconds(found: dict[str, Any]) -> float:
    """Of CPU, for all rows."""
    return float(found.get("cpu_s_of_whole", found["cpu_s"]))


def cell(found: dict[str, Any]) -> str:
    """As the table has one stage at one shape."""
    taken = seconds(found)
    time = f"{taken:.0f} s" if taken < 600 else f"{taken / 60:.0f} min"
    return f"{time}; {found['anonymous_gib']:.1f} ({found['peak_gib']:.1f})"


def child(asked: argparse.Namespace, *more: str) -> str:
    command = [sys.executable, __file__, "--folder", str(asked.folder), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return done.stdout


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    python = platform.python_version()
    return {"cpu": cpu, "threads": 1, "load_before": os.getloadavg()[0], "python": python}


def run(asked: argparse.Namespace) -> None:
    """One stage, as its rule's script does it."""
    from fsrl.weights import matrices

    if asked.stage == "export":
        run_export(asked)
        return
    unembedding = matrices.read_unembedding(asked.folder / "unembedding.safetensors")
    decoder = matrices.read_decoder(asked.folder / "decoder.safetensors")
    stages = vars(large_tables) | globals()
    stages[f"run_{asked.stage}"](asked, unembedding, decoder)


def run_export(asked: argparse.Namespace) -> None:
    """Read what of the model is needed, fold, tell the trained tokens, hash, write."""
    from fsrl.models import export, reading
    from fsrl.models.sources import ModelSource
    from fsrl.weights import matrices

    model = reading.read_model(ModelSource(folder=str(asked.folder / "model")), blocks=1)
    # The quantile of the undertrained tokens wants 999 directions at least.
    draws = LEAST_DRAWS + asked.rows
    chosen: dict[str, Any] = {"counts_path": None, "min_count": 1, "draws": draws, "seed": 0}
    made = matrices.identified_unembedding(export.unembedding(model, **chosen))
    path = asked.folder / "exported.safetensors"
    matrices.write_unembedding(made, path)
    path.unlink()


def run_nulls(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """Isotropic directions in both views."""
    from fsrl.nulls import frames

    frames.isotropic_of_views(unembedding, VIEWS, draws=asked.rows, seed=0)


def run_layer_nulls(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """A layer's own kind that bounds the types, in both views."""
    from fsrl.moments.formulas import Typical
    from fsrl.nulls import frames

    typical = dict.fromkeys(VIEWS, Typical(3.0, 1.5, 50.0))
    chosen: dict[str, Any] = {"kinds": ["spectrum"], "draws": asked.rows, "seed": 0, "typical": typical}
    frames.of_layer_in_views(decoder, unembedding, VIEWS, **chosen)


def run_moments(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """With extremes and histograms, in both views."""
    from dataclasses import replace

    from fsrl.moments import engine

    engine.decoder_moments(replace(decoder, W_dec=decoder.W_dec[: asked.rows]), unembedding, VIEWS)


def sets_of(view: Any) -> Any:
    """Of 20 to 30,000 tokens, as a study's."""
    import torch

    generator = torch.Generator().manual_seed(1)
    n_tokens = view.W_U.shape[1]
    shares = torch.logspace(-4, -1, large_tables.N_SETS).unsqueeze(1)
    return torch.rand(large_tables.N_SETS, n_tokens, generator=generator) < shares


def run_enrichment(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """Of the view without undertrained tokens."""
    from fsrl.enrichment import row_nulls, statistics
    from fsrl.enrichment.covariance import layer_covariance
    from fsrl.weights import matrices

    view = matrices.view(decoder, unembedding, **VIEWS["trained"])
    nulls = row_nulls.null_directions(view.W_U, draws=SET_DRAWS, seed=0)
    covariance = layer_covariance(view.W_dec)
    rows = view.W_dec[: asked.rows]
    statistics.set_statistics(rows, view.W_U, sets_of(view), covariance=covariance, nulls=nulls)


def run_null_p_values(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """One repetition."""
    from fsrl.enrichment import calibration, row_nulls
    from fsrl.weights import matrices

    view = matrices.view(decoder, unembedding, **VIEWS["trained"])
    nulls = row_nulls.null_directions(view.W_U, draws=SET_DRAWS, seed=0)
    chosen: dict[str, Any] = {"nulls": nulls, "repetitions": 1, "seed": 1, "level": 0.05, "cut": -3.0}
    for _ in calibration.null_tests(view.W_dec[: asked.rows], view.W_U, sets_of(view), **chosen):
        pass


def run_scores(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """Signed scores and dips, of a hundredth of the features."""
    import torch

    from fsrl.claims import dips
    from fsrl.enrichment import scores
    from fsrl.weights import matrices

    view = matrices.view(decoder, unembedding, **VIEWS["trained"])
    few = torch.arange(max(1, asked.rows // 100))
    scores.signed_scores(view.W_dec, view.W_U, sets_of(view), few)
    dips.dips(view.W_dec[few], view.W_U)


def run_confidence(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """W_U's null space, and every row's share in it."""
    import torch

    from fsrl.moments import confidence
    from fsrl.nulls import directions
    from fsrl.weights import matrices

    W_U, token_ids = matrices.view_unembedding(unembedding, **VIEWS["trained"])
    counts = torch.arange(len(token_ids)) + 1
    read = confidence.reader(W_U, counts, null_space=0.02, layer_norm=False)
    rows = decoder.W_dec[: asked.rows]
    alike = partial(directions.spectrum, rows, draws=confidence.DRAWS, seed=0)
    confidence.confidence_frame(rows, read, None, spectrum=alike, seed=0)


def run_axis_share(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """In one view, from an axis at random."""
    import torch

    from fsrl.moments import axis_share

    axis = torch.randn(asked.d_model, dtype=torch.float64)
    axis_share.axis_share(decoder.W_dec[: asked.rows], unembedding.folded, axis)


def run_clusters(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """Near copies among all rows of an SAE."""
    from fsrl.stats import odds

    odds.decoder_clusters(decoder.W_dec[: asked.rows], threshold=0.7)


def run_directions(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """The nearest rows of each within an SAE, and how null ones are spread."""
    from fsrl.browser import beside
    from fsrl.weights import matrices

    list(beside.neighbours([decoder.W_dec[: asked.rows]], [decoder.sae]))
    beside.null_shapes(matrices.view(decoder, unembedding, **VIEWS["trained"]), n_bins=50, seed=0)


def run_token_sets(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """Of the whole vocabulary."""
    from fsrl.tokens import sets

    sets.describe(sets.token_sets(unembedding.tokens), {})


def peak(work: Callable[[], None]) -> dict[str, float]:
    """CPU seconds, and peaks of resident and of anonymous memory in GiB (the latter at every 20 ms)."""
    highest, done = 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.02):
            highest = max(highest, kib("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    used = resource.getrusage(resource.RUSAGE_SELF)
    gib = 2**20
    return {
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_gib": round(kib("VmHWM") / gib, 2),
        "anonymous_gib": round(highest / gib, 2),
    }


def kib(name: str) -> int:
    """A line of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
