"""What jobs ask of a cluster and which share a submission; a build through a real SLURM, its jobs killed."""

import ast
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.fixtures import slurm_cluster
from tests.fixtures.project import ROOT, Project, environment, planned
from tests.fixtures.tiny_study import SAE_IDS

RULES = ROOT / "workflow/rules"
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
SCRIPTS = {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")}
# Hours of training, for which no figure was measured on a cluster; and what needs the network.
ALONE = set(re.findall(r"scripts/(\w+)\.py", (RULES / "train_mini.smk").read_text()))
ALONE |= {"download", "fetch_lens", "fetch_weights", "judge_predictions", "print_predictions"}
ALONE |= {"list_releases", "print_releases"}
[TABLE] = re.findall(r"^CLUSTER = (\{.*?^\})", (RULES / "cluster.smk").read_text(), re.M | re.S)
CLUSTER: dict[str, dict[str, int]] = ast.literal_eval(TABLE)
# Seconds for each of two jobs to begin, and for the rest.
PATIENCE = 900
# Told at once: a skip by a fixture would come after the local build.
UNAVAILABLE = slurm_cluster.unavailable()


def test_every_job_has_a_group_and_a_run_time() -> None:
    listed = [script for minutes in CLUSTER.values() for script in minutes]
    assert sorted(listed) == sorted(SCRIPTS - ALONE)
    # A layer's jobs that do all SAEs of a study lose the SAE in their group's name.
    groups = dict.fromkeys(name for group in CLUSTER for name in (group, group.replace(".{sae}", "")))
    assert PROFILE["group-components"] == [f"{group}=1000" for group in groups]


def test_the_folder_of_a_log_can_be_made() -> None:
    """SLURM's log lies in a folder of this name, in which rules of a study have its name once more."""
    studies = yaml.safe_load((ROOT / "config/config.yaml").read_text())["studies"]
    longest = max(studies, key=len)
    for group, minutes in CLUSTER.items():
        filled = group.format(study=longest, model=longest, sae="blocks.11.hook_resid_post")
        names = [f"{script}_{longest}" if study_s(script) else script for script in minutes]
        assert len("_".join(["group", filled, *names])) <= 255, group


def study_s(script: str) -> bool:
    """Whether the rule of a script has the study's name, or its model's, in its own."""
    named = re.compile(rf'f"{script}_\{{(study\.name|model)\}}"')
    return any(named.search(path.read_text()) for path in RULES.glob("*.smk"))


def dry_run(project: Project, *arguments: str) -> str:
    """A plan for a cluster as Snakemake's own logger prints it: with groups and resources."""
    done = project.without_jobs(
        "-n", "-F", "--workflow-profile", "none", "--profile", "profiles/slurm", *arguments
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def resources(printed: str, rule: str) -> tuple[int, int]:
    """(MB, minutes) of a rule's first job."""
    found = re.search(rf"^    rule {rule}:.*?mem_mb=(\d+).*?runtime=(\d+)", printed, re.M | re.S)
    assert found, printed
    return int(found[1]), int(found[2])


def test_a_study_is_a_handful_of_submissions(fresh: Project) -> None:
    printed = dry_run(fresh)
    groups = re.findall(r"Group job (\S+) \(", printed)
    studies = [f"{name}.tiny" for name in ("weights", "evidence", "effects", "steering", "figures", "tables")]
    studies.append("model.tiny-model")
    assert sorted(groups) == sorted([*studies, *(f"layer.tiny.{sae}" for sae in SAE_IDS), "paper"])
    # All but the target `all`, which has nothing to run, is in one of them.
    assert re.findall(r"^(?:local)?rule (\w+):", printed, re.M) == ["all"]


@pytest.mark.parametrize("settings", [{"one_job": True}, {}], ids=["a study that says so", "a GPU"])
def test_jobs_of_all_saes_have_a_group_too(fresh: Project, tmp_path: Path, settings: dict[str, bool]) -> None:
    project = fresh.copy(tmp_path / "project")
    overlay = project.folder / "tiny/config.yaml"
    config = json.loads(overlay.read_text())
    config["studies"]["tiny"] |= settings
    overlay.write_text(json.dumps(config | {"device": "cpu" if settings else "cuda"}))
    groups = re.findall(r"Group job (\S+) \(", dry_run(project))
    assert groups.count("layer.tiny") == 1 and not [
        group for group in groups if group.startswith("layer.tiny.")
    ]


def test_memory_and_time_grow_with_the_attempt_and_yield_to_the_command(fresh: Project) -> None:
    memory, minutes = resources(dry_run(fresh), "measure_effects_tiny")
    # The model's own memory, a MB begun, beside what the job takes.
    assert (memory, minutes) == (3001, CLUSTER["effects.{study}"]["measure_effects"])
    assert resources(dry_run(fresh, "--attempt", "2"), "measure_effects_tiny") == (2 * memory, 2 * minutes)
    said = dry_run(fresh, "--set-resources", "measure_effects_tiny:mem_mb=5555")
    assert resources(said, "measure_effects_tiny") == (5555, minutes)


# sbatch takes down what it is asked, and refuses it; the others say of a cluster what a submission asks them.
REFUSING = {
    "sbatch": 'printf "%s " "$@" | tr "\\n" " " >> "$ASKED"; echo >> "$ASKED"; exit 1',
    "sinfo": "echo 'main*'",
    "sacct": "echo none",
    "squeue": ":",
    "scancel": ":",
}


@pytest.mark.slow
@pytest.mark.parametrize(("device", "gpus"), [("cuda", ["1"]), ("auto", [])])
def test_a_submission_asks_for_a_gpu_and_after_a_failure_for_more_memory(
    fresh: Project, tmp_path: Path, device: str, gpus: list[str]
) -> None:
    project, programs = fresh.copy(tmp_path / "project"), tmp_path / "programs"
    programs.mkdir()
    for name, lines in REFUSING.items():
        (programs / name).write_text(f"#!/bin/sh\n{lines}\n")
        (programs / name).chmod(0o755)
    given = environment() | {"ASKED": str(tmp_path / "asked")}
    given["PATH"] = f"{programs}:{given['PATH']}"
    target = "results/models/tiny-model/nulls/main.parquet"
    command = project.command(target, "--profile", "profiles/slurm", "--config", f"device={device}")
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, env=given)
    assert done.returncode == 1, done.stderr
    calls = (tmp_path / "asked").read_text().splitlines()
    assert len(calls) == 1 + PROFILE["retries"], done.stderr
    memory = [int(size) for call in calls for size in re.findall(r" --mem[ =](\d+)", call)]
    assert memory == [attempt * memory[0] for attempt in range(1, len(calls) + 1)]
    for call in calls:
        assert re.findall(r" --gpus=(\d+) ", call) == gpus


def test_a_comparison_of_all_saes_gets_time_for_as_many_as_there_are(fresh: Project, tmp_path: Path) -> None:
    minutes = CLUSTER["browser.{study}"]["compare_directions"]
    project = fresh.copy(tmp_path / "project")
    assert resources(dry_run(project, "browser"), "compare_directions_tiny")[1] == minutes
    overlay = project.folder / "tiny/config.yaml"
    config = json.loads(overlay.read_text())
    config["studies"]["tiny"]["saes"] = {"neurons": 26}
    overlay.write_text(json.dumps(config))
    assert resources(dry_run(project, "browser"), "compare_directions_tiny")[1] == 4 * minutes


@pytest.fixture
def slurm() -> Iterator[Path]:
    """A cluster on this machine; its daemons' log."""
    with slurm_cluster.cluster() as log:
        yield log


@contextmanager
def building(project: Project, daemons: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Snakemake at work on the cluster; where the test fails it is ended, and all logs are told."""
    # A controller without accounting, asked every other second.
    asked = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
    cores = ["--cores", str(os.cpu_count())]
    command = project.command("--profile", "profiles/slurm", *asked, *cores, *arguments)
    with (project.folder / "printed").open("wb") as printed:
        process = subprocess.Popen(
            command, cwd=project.folder, env=environment(), stdout=printed, stderr=printed
        )
    try:
        yield process
    except BaseException:
        jobs = sorted(project.folder.glob(".snakemake/slurm_logs/**/*.log"))
        slurm_cluster.tell(daemons, *jobs, project.folder / "printed")
        raise
    finally:
        # The cluster cancels what it leaves.
        process.kill()
        process.wait()


def job_of(group: str, log: Path, process: subprocess.Popen[bytes]) -> str:
    """The id of the running job of a group, once the job's script has begun its log."""
    found: list[str] = []

    def begun() -> bool:
        assert process.poll() is None, f"snakemake ended before {log} was begun"
        if log.exists():
            found[:] = [
                job for job in slurm_cluster.running() if f"/group_{group}_" in str(slurm_cluster.log_of(job))
            ]
        return bool(found)

    slurm_cluster.wait(begun, f"a running job of {group} with {log}", seconds=PATIENCE)
    [job] = found
    return job


@pytest.mark.slow
@pytest.mark.skipif(bool(UNAVAILABLE), reason=UNAVAILABLE)
@pytest.mark.timeout(4 * PATIENCE)
def test_killed_jobs_are_tried_again_and_end_in_the_bytes_of_a_local_build(
    slurm: Path, built: Project, fresh: Project, tmp_path: Path
) -> None:
    """Up to the effects, where jobs of both SAEs meet, to steering and to a figure."""
    project = fresh.copy(tmp_path / "project")
    summaries = [f"results/tiny/summary/{name}" for name in ("effects_summary.tsv", "steering.parquet")]
    targets = [*summaries, "figures/tiny/trained/layers_grid.png"]
    logs = project.folder / "logs/tiny"
    with building(project, slurm, *targets) as process:
        job = job_of("weights.tiny", logs / "export_weights.log", process)
        subprocess.run(["scancel", job], check=True)
        slurm_cluster.kill_steps(job_of("effects.tiny", logs / "measure_effects.log", process))
        process.wait(timeout=PATIENCE)
        said = (project.folder / "printed").read_text()
        assert process.returncode == 0
        # Both failures are told, with the logs of their jobs.
        for log in ("export_weights.log", "measure_effects.log"):
            assert re.search(rf"log: logs/tiny/{log} \(check log", said)
        before, after = built.outputs(), project.outputs()
        assert set(targets) <= after.keys()
        assert [name for name in after if before.get(name) != after[name]] == []
        assert planned(project.without_jobs("--dry-run", *targets)) == {}
