"""The table of what stages cost, and how benchmark files become its figures."""

import json
from pathlib import Path

import pytest

from benchmarks import stages
from fsrl.latex import compute

ROOT = Path(__file__).parents[2]
HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(path: Path, seconds: float, memory: str, cpu: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}{seconds}\t0:00:01\t{memory}\t0\t0\t0\t0\t0\t0\t{cpu}\n")


def test_jobs_are_summed_by_stage(tmp_path):
    benchmark(tmp_path / "mini/blocks.0/compute_moments.tsv", 2.0, "100.0", "3.0")
    benchmark(tmp_path / "mini/blocks.1/compute_moments.tsv", 1.0, "250.0", "1.5")
    benchmark(tmp_path / "mini/draw_study_figures/trained.tsv", 4.0, "NA", "-")
    studies: set[str] = set()
    found = stages.collected(tmp_path, studies)
    assert studies == {"mini"} and list(found) == ["moments", "figures"]
    assert found["moments"] == {"jobs": 2, "seconds": 3.0, "cpu_seconds": 4.5, "mib": 250.0}
    assert found["figures"] == {"jobs": 1, "seconds": 4.0, "cpu_seconds": 0.0, "mib": 0.0}


def test_a_rule_of_no_stage_is_named():
    with pytest.raises(SystemExit, match="rule frobnicate is of no stage"):
        stages.stage_of("frobnicate")


def test_every_script_of_a_build_has_a_stage():
    apart = {
        "download",
        "print_predictions",
        "print_releases",
        "list_releases",
        "write_dataset",
        "write_run_crate",
    }
    for path in (ROOT / "workflow/scripts").glob("*.py"):
        of_training = path.stem in apart or "mini" in path.stem
        assert of_training or stages.stage_of(path.stem)


def test_the_saved_table_is_of_the_embedded_studies():
    saved = json.loads((ROOT / "benchmarks/results/stages_cpu.json").read_text())
    table = compute.stages(saved)
    assert set(saved["studies"]) == {"mini", "mini-neurons", "mini-runs"}
    assert len(saved["stages"]) > 10
    total = sum(one["jobs"] for one in saved["stages"].values())
    assert rf"\quad all & {total:.0f} &" in table
