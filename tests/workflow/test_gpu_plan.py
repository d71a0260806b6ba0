"""What is planned where there is a GPU: which jobs claim it, and that no two of them run at once.

The machine's GPU is a pretence of planning alone (a driver that lists one, a Torch whose version says CUDA):
jobs find none and compute on the CPU.
"""

import re
import subprocess
from pathlib import Path

import pytest

from fsrl import devices
from tests.fixtures import tiny_study as tiny
from tests.fixtures.project import Project, environment

# Snakemake's own log, which names each job's resources.
PLAIN = ("--workflow-profile", "none")
# Jobs that compute on a device. Token counts of the tiny study tell undertrained tokens: its export has none.
CLAIMING = {
    "compute_null_moments_tiny-model": 1,
    "cluster_features_tiny": 1,
    "measure_activation_covariances": 1,
    "measure_axis_shares_tiny": 1,
    "compute_layer_nulls_tiny": 1,
    "compute_moments_tiny": 1,
    "test_enrichment_tiny": 1,
    "summarise_enrichment_tiny": 1,
    "null_p_values": 1,
    "measure_effects_tiny": 1,
    "measure_steering_tiny": 1,
    "measure_confidence_tiny": 1,
}


def with_gpu(folder: Path) -> dict[str, str]:
    """The environment of a machine with a GPU, as planning sees it."""
    folder.mkdir()
    (folder / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: pretended'\n")
    (folder / "nvidia-smi").chmod(0o755)
    (folder / "torch-9.9.9.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n"
    (folder / "torch-9.9.9.dist-info/METADATA").write_text(metadata)
    given = environment()
    return given | {"PATH": f"{folder}:{given['PATH']}", "PYTHONPATH": str(folder)}


def planned(project: Project, given: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = project.command("--dry-run", *PLAIN, *arguments)
    return subprocess.run(command, cwd=project.folder, capture_output=True, text=True, env=given)


def claims(printed: str) -> dict[str, int]:
    """Jobs that claim a GPU, by rule."""
    jobs = re.findall(r"^rule ([\w-]+):\n((?:    .*\n)+)", printed, re.M)
    found: dict[str, int] = {}
    for rule, said in jobs:
        if re.search(r"resources: .*\bgpu=1\b", said):
            found[rule] = found.get(rule, 0) + 1
    return found


def test_jobs_of_heavy_work_claim_the_gpu_and_do_all_saes(fresh: Project, tmp_path: Path) -> None:
    done = planned(fresh, with_gpu(tmp_path / "gpu"))
    assert done.returncode == 0, done.stderr
    assert claims(done.stdout + done.stderr) == CLAIMING


def test_nothing_claims_a_gpu_where_it_is_not_wanted(fresh: Project, tmp_path: Path) -> None:
    done = planned(fresh, with_gpu(tmp_path / "gpu"), "--config", "device=cpu")
    printed = done.stdout + done.stderr
    assert done.returncode == 0 and claims(printed) == {}
    assert len(re.findall(r"^rule compute_moments_tiny:", printed, re.M)) == len(tiny.SAE_IDS)


@pytest.mark.skipif(devices.at_hand(), reason="there is a GPU to plan with here")
def test_cuda_without_a_gpu_is_one_line_before_the_first_job(fresh: Project) -> None:
    done = fresh.without_jobs("--config", "device=cuda")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "device is cuda, but Torch can use no GPU here" in line and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ((), "0"),
        (("--profile", "profiles/slurm"), ""),
        # A job's own process on a node, which is told of no profile.
        (("--mode", "remote"), ""),
        (("--mode", "remote", "--config", "device=cpu"), ""),
        (("--mode", "remote", "--config", "device=cuda"), "0"),
    ],
)
def test_a_job_of_a_cluster_sees_no_gpu_that_it_did_not_claim(
    fresh: Project, tmp_path: Path, arguments: tuple[str, ...], seen: str
) -> None:
    project = fresh.copy(tmp_path / "project")
    with (project.folder / "Snakefile").open("a") as snakefile:
        snakefile.write("say(f\"GPUs: {os.environ['CUDA_VISIBLE_DEVICES']!r}\")\n")
    given = environment() | {"CUDA_VISIBLE_DEVICES": "0"}
    done = project.without_jobs("--dry-run", *PLAIN, *arguments, given=given)
    assert done.returncode == 0, done.stderr
    assert f"GPUs: {seen!r}\n" in done.stderr


@pytest.mark.slow
def test_no_two_jobs_are_on_the_gpu_at_once(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    until = [*PLAIN, "--until", "compute_moments_tiny", "measure_activation_covariances", "null_p_values"]
    done = subprocess.run(
        project.command(*until),
        cwd=project.folder,
        capture_output=True,
        text=True,
        env=with_gpu(tmp_path / "gpu"),
    )
    assert done.returncode == 0, done.stderr
    running: set[str] = set()
    most = 0
    # "[time]", then "localrule name:" with its "jobid: n", or "Finished jobid: n (Rule: name)".
    for line in re.sub(r"\n    ", " ", done.stderr).splitlines():
        if match := re.match(r"(?:local)?rule ([\w-]+):.*jobid: (\d+)", line):
            running |= {match[2]} if match[1] in CLAIMING else set()
        elif match := re.match(r"Finished jobid: (\d+)", line):
            running.discard(match[1])
        most = max(most, len(running))
    assert most == 1
