"""benchmarks/gpu_check.sh runs, at a tiny size on a CPU: what it says of a GPU only a GPU can tell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.fixtures.project import ROOT, Project, environment

PARTS = {"moments": 6, "saes": 5, "nulls": 3}


def check(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "benchmarks/gpu_check.sh", *arguments],
        cwd=root,
        env=environment() | {"PYTHON": sys.executable, "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
    )


def test_the_parts_are_measured_and_written(tmp_path: Path) -> None:
    written = tmp_path / "gpu_check.json"
    done = check(ROOT, "--tiny", "--device", "cpu", "--output", str(written), "--parts", *PARTS)
    assert done.returncode == 0, done.stderr
    report = json.loads(written.read_text())
    assert report["machine"]["device"] == "cpu"
    for part, size in PARTS.items():
        assert len(report[part]) == size
    # On a CPU split is fp32.
    modes = {name: found for name, found in report["moments"].items() if isinstance(found, dict)}
    assert list(modes) == ["fp64", "fp32", "bf16"]
    errors = [found["error_kurtosis"] for found in modes.values()]
    assert errors[0] == 0 < errors[1] < 1e-5 < errors[2] < 0.1
    for found in modes.values():
        assert found["seconds_moments_alone"] > 0 and found["seconds_bare_product"] > 0
        assert found["products_with_everything_eager"] * found["seconds_bare_product"] == pytest.approx(
            found["seconds_with_extremes_and_histogram_eager"]
        )
        assert found["rows_timed"] == report["sizes"]["features"]
    # Why no fused sweep runs here: no Triton, or no GPU that its driver finds.
    assert report["moments"]["sweep"].startswith("not fused: ")
    # One line of the table for each number.
    line = f"moments fp32 error_kurtosis {modes['fp32']['error_kurtosis']:.4g}"
    assert line in [" ".join(row.split()) for row in done.stdout.splitlines()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_in_one_line(tmp_path: Path) -> None:
    done = check(ROOT, "--tiny", "--output", str(tmp_path / "none.json"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: device is cuda, but Torch can use no GPU here")
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_part_that_fails_is_told_and_the_others_run(tmp_path: Path) -> None:
    written = tmp_path / "gpu_check.json"
    # No time is left for what has to be waited for.
    options = ["--tiny", "--device", "cpu", "--minutes", "0", "--output", str(written)]
    done = check(ROOT, *options, "--parts", "tests", "saes")
    assert done.returncode == 1
    report = json.loads(written.read_text())
    assert "timed out" in report["tests"]["failed"] and report["saes"]["seconds"] > 0
    assert "tests failed" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_whole_workflow_is_timed(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    for path in (ROOT / "benchmarks").glob("gpu_check.*"):
        (project.folder / "benchmarks" / path.name).write_bytes(path.read_bytes())
    os.symlink(ROOT / "tests", project.folder / "tests")
    options = ["--tiny", "--device", "cpu", "--output", "found.json", "--parts", "dag"]
    done = check(project.folder, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((project.folder / "found.json").read_text())["dag"]
    assert 0 < min(found["seconds_of_jobs"].values()) < found["seconds"]
