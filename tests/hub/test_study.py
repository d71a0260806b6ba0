"""A study from the hub through the whole workflow: fetched, built, rebuilt without the hub, refused."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hub.server import LoopbackHub
from tests.workflow.conftest import Project, fresh

__all__ = ["fresh"]  # a fixture
ID = "blocks.11.hook_resid_post"
STUDY = {
    "model": {"hub": "gpt2"},
    "saes": {"release": "gpt2-small-res-jb", "ids": [ID]},
    "views": ["trained", "cosine"],
    "figure_views": ["trained"],
    "evaluation_text": "tiny/evaluation_text.txt",
}
Environment = Callable[..., dict[str, str]]


@pytest.fixture
def project(fresh: Project, tmp_path: Path) -> Project:
    """The project with a study `ours` from the hub beside the tiny one, nothing built."""
    copy = fresh.copy(tmp_path / "project")
    config = json.loads((copy.folder / "tiny/config.yaml").read_text())
    config["studies"]["ours"] = STUDY
    config["run"] = ["tiny", "ours"]
    config["tokens"]["draws"] = 2000
    (copy.folder / "tiny/config.yaml").write_text(json.dumps(config))
    return copy


def run(project: Project, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Snakemake in the project; the loopback hub's environment has the checkout's library on its path."""
    environment = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    command = project.command(*arguments)
    return subprocess.run(
        command, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_a_study_is_fetched_built_and_rebuilt_without_the_hub(
    hub: LoopbackHub, hub_environment: Environment, project: Project
) -> None:
    environment = hub_environment()
    done = run(project, environment, "--config", "study=ours")
    assert done.returncode == 0, done.stderr
    before = project.outputs()
    assert f"figures/ours/trained/{ID}/exemplars.png" in before
    assert "results/ours/hub_files.tsv" in before
    metadata = read_metadata(project.folder / f"results/ours/{ID}/trained/types.parquet")
    assert len(metadata["model_revision"]) == len(metadata["sae_revision"]) == 40
    assert len(metadata["model_sha256"]) == len(metadata["sae_sha256"]) == 64

    hub.requests.clear()
    hub.close()
    done = run(project, environment, "--config", "study=ours")
    assert "Nothing to be done" in done.stderr
    shutil.rmtree(project.folder / "results/ours")
    done = run(project, environment, f"results/ours/{ID}/trained/types.parquet", "--config", "study=ours")
    assert done.returncode == 0, done.stderr
    rebuilt = {name for name in project.outputs() if name.startswith("results/ours")}
    assert rebuilt and {name: project.outputs()[name] for name in rebuilt} == {
        name: before[name] for name in rebuilt
    }
    assert hub.requests == []


def read_metadata(path: Path) -> dict[str, str]:
    from fsrl.tables import core as tables

    return tables.read_metadata(path)


def test_without_hub_and_cache_one_line_says_what_to_do_and_nothing_is_left(
    hub: LoopbackHub, hub_environment: Environment, project: Project
) -> None:
    hub.close()
    done = run(project, hub_environment(), "--config", "study=ours")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert lines == [line for line in lines if "cannot be fetched" in line] and len(lines) == 1
    assert not [path for path in project.outputs() if "ours" in path]


def test_a_listed_study_is_skipped_until_it_is_downloaded(
    hub: LoopbackHub, hub_environment: Environment, project: Project
) -> None:
    environment = hub_environment()
    skipped = "study ours is skipped: its weights are not on this machine; get them with `snakemake --cores 1"
    dry = run(project, environment, "--dry-run", "--quiet")
    assert dry.returncode == 0 and dry.stderr.count(skipped) == 1
    assert "export_weights_ours" not in run(project, environment, "--dry-run").stdout
    assert hub.requests == []

    done = run(project, environment, "download", "--config", "study=ours")
    assert done.returncode == 0, done.stderr
    assert "fetching 7 files" in done.stderr
    assert set(project.outputs()) == {"results/ours/hub_files.tsv"}
    dry = run(project, environment, "--dry-run")
    assert skipped not in dry.stderr and "export_weights_ours" in dry.stdout + dry.stderr
