"""Which studies have their effects measured is known, and said, before the first job."""

import json
from pathlib import Path

from fsrl.effects import scope
from tests.fixtures.project import Project, environment

EFFECT_RULES = {"measure_effects_tiny", "effect_summary", "draw_effect_figures", "write_latex_effects"}


def configured(fresh: Project, folder: Path, **settings: object) -> Project:
    project = fresh.copy(folder)
    path = project.folder / "tiny/model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return project


def test_a_study_of_another_model_is_built_without_effects(fresh: Project, tmp_path: Path) -> None:
    planned = set(fresh.plan())
    assert planned >= EFFECT_RULES
    project = configured(fresh, tmp_path / "project", model_type="llama")
    assert set(project.plan()) == planned - EFFECT_RULES
    said = project.without_jobs("--dry-run").stderr
    line = f"study tiny is built without effects: model_type is 'llama', and {scope.ONLY}"
    assert said.splitlines().count(line) == 1


def test_jobs_follow_what_was_decided_before_the_first(fresh: Project, tmp_path: Path) -> None:
    """A model of which nothing was known then may have been fetched since."""
    project = configured(fresh, tmp_path / "project", model_type="llama")
    decided = environment() | {"FSRL_MEASURED": "tiny"}
    job = project.without_jobs("--mode", "subprocess", "--list-rules", given=decided)
    assert "measure_effects_tiny" in job.stdout.split() and "built without effects" not in job.stderr
    run = project.without_jobs("--list-rules", given=decided)
    assert "measure_effects_tiny" not in run.stdout.split() and "built without effects" in run.stderr


def test_a_broken_config_of_a_model_is_one_line(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    (project.folder / "tiny/model/config.json").write_text("[]")
    done = project.without_jobs("--dry-run")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: config: studies.tiny.model: tiny/model/config.json: "
    )
