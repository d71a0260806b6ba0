"""Tables of times in docs/ are the saved output of benchmarks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAVED = json.loads((ROOT / "benchmarks/results/moments_cpu.json").read_text())
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs/reference/times.md").read_text()
ROWS = {
    "ours, fp32, moments": "ours, `fp32`: moments alone",
    "ours, fp32, all": "ours, `fp32`: moments, extremes, histogram",
    "ours, bf16, moments": "ours, `bf16`: moments alone",
    "torch.mm product, tiled, fp32": "the bare product, in tiles, by `torch.mm`",
    "merged blocks": "blocks of the vocabulary, merged, plain torch",
    "materialised (tutorial)": "the whole matrix, then its moments (SAELens tutorial)",
    "scipy.stats": "scipy, float64",
}


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_what_was_measured(name):
    time, memory = SAVED["timings"][name], SAVED["memory"][name]
    row = f"| {ROWS[name]} | {time['ratio_to_torch_mm']:.2f} "
    row += f"| {memory['mib_above_inputs']:,.0f} MiB at {memory['rows']:,} rows |"
    assert row in PAGE


def test_ratios_to_our_own_product():
    ours = SAVED["timings"]["our product, fp32"]["seconds"]
    alone, everything = (SAVED["timings"][f"ours, fp32, {part}"]["seconds"] for part in ("moments", "all"))
    assert f"moments alone take {alone / ours:.2f} and everything {everything / ours:.2f}" in PAGE


def test_times_at_the_shapes_of_other_models():
    command = [sys.executable, "benchmarks/large_shapes.py", "--table", "benchmarks/results/shapes_cpu.json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    totals, stages = done.stdout.strip().split("\n\n")
    assert totals in PAGE and totals in README and stages in PAGE
    assert all(f"| {name} |" in totals for name in ("pythia-70m", "gemma-2-2b"))
    assert "not measured" not in stages
