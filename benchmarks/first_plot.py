"""What a notebook's first plot costs beside the moments that it shows, at GPT-2's shapes and random weights.

    python benchmarks/first_plot.py --output benchmarks/results/first_plot_cpu.json
    python benchmarks/first_plot.py --d-sae 1024 --rounds 1

One process, an analyzer of its own each time, the ways in turn, medians over the rounds. `moments`:
logit_distr alone; `cold`: plot_logit_distr_skewness_vs_kurtosis with an empty cache of null directions;
`warm`: with a cache that has this model's. A GPT-2 SAE has 24,576 features, and the null directions of a
plot are as many for any: the ratios are given as measured, and for 24,576 features, where the moments (and
they alone) are multiplied by 24,576 / d_sae. --types times a first `types()` too, cold and warm (minutes).
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from gpt2_shapes import D_SAE, merges

from fsrl import HookedModel, SAEAdapter
from fsrl.analyzer import tables as analyzer_tables
from fsrl.models import reading
from fsrl.nulls import cache as null_cache
from fsrl.utils import SAEfeatureAnalyzer
from tests.fixtures.adapter_examples import make_sae
from tests.hub import gpt2_layout

HOOK = "blocks.0.hook_resid_post"
# The processed model tells no trained tokens; all are shown.
VIEW = {"tokens": "all"}


def main() -> None:
    """Print the seconds and ratios, and write them where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--d-sae", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--types", action="store_true", help="time the first types() too")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.d_sae, options.rounds, types=options.types)
    print(json.dumps(found, indent=2))
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n")


def measure(folder: Path, d_sae: int, rounds: int, *, types: bool) -> dict[str, Any]:
    """Seconds of each way, and what they come to."""
    gpt2_layout.write_model(folder / "model", gpt2_layout.Shape(n_layers=1), merges())
    sae = make_sae(hook=HOOK, d_in=768, d_sae=d_sae)
    sae_model = HookedModel(reading.load_model(folder / "model"), SAEAdapter(sae))
    os.environ[null_cache.VARIABLE] = str(folder / "kept")
    ways = {
        "moments": (False, lambda one: one.logit_distr()),
        "cold": (True, lambda one: one.plot_logit_distr_skewness_vs_kurtosis()),
        "warm": (False, lambda one: one.plot_logit_distr_skewness_vs_kurtosis()),
    }
    if types:
        ways |= {
            "types cold": (True, lambda one: one.types()),
            "types warm": (False, lambda one: one.types()),
        }
    runs: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first starts compilers and libraries
        for name, (empty, ask) in ways.items():
            if number or not name.startswith("types"):
                spent = seconds(sae_model, ask, folder / "kept" if empty else None)
                runs[name] += [spent] if number else []
    medians = {name: statistics.median(spent) for name, spent in runs.items()}
    moments = medians.pop("moments")
    whole = moments * D_SAE / d_sae
    return {
        "d_sae": d_sae,
        "plotted_null_draws": analyzer_tables.PLOTTED_DRAWS,
        "seconds": {"moments": moments, **medians},
        "ratio": {name: spent / moments for name, spent in medians.items()},
        f"ratio_at_{D_SAE}": {name: (whole + spent - moments) / whole for name, spent in medians.items()},
        "runs": runs,
        "machine": {"threads": torch.get_num_threads(), "cpus": os.cpu_count(), "of": platform.machine()},
        "load": os.getloadavg(),
    }


def seconds(sae_model: HookedModel, ask: Callable[[Any], object], emptied: Path | None) -> float:
    """Of one analyzer's first answer; nothing is kept in the process, on disk what is not `emptied`."""
    analyzer_tables.NULLS = analyzer_tables.Kept(rows=0)
    for path in emptied.iterdir() if emptied and emptied.is_dir() else ():
        path.unlink()
    found = SAEfeatureAnalyzer(sae_model, results=False, neuronpedia=False, progress=False, **VIEW)
    begin = time.perf_counter()
    ask(found)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
