"""Which studies have their effects measured."""

import json
from pathlib import Path

from tests.fixtures.project import Project
from tests.fixtures.project import planned as planned_rules

EFFECT_RULES = {"measure_effects_tiny", "effect_summary", "draw_effect_figures", "write_latex_effects"}
STEERING_RULES = {"measure_steering_tiny", "summarise_steering", "write_latex_steering"}


def configured(fresh: Project, folder: Path, name: str, value: object) -> Project:
    project = fresh.copy(folder)
    path = project.folder / "tiny/config.yaml"
    config = json.loads(path.read_text())
    config["studies"]["tiny"][name] = value
    path.write_text(json.dumps(config))
    return project


def test_effects_are_measured_whatever_the_model(fresh: Project, tmp_path: Path) -> None:
    assert set(fresh.plan()) >= EFFECT_RULES | STEERING_RULES
    project = fresh.copy(tmp_path / "project")
    path = project.folder / "tiny/model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "llama"}))
    planned = project.without_jobs("--dry-run")
    assert set(planned_rules(planned)) >= EFFECT_RULES and not STEERING_RULES & set(planned_rules(planned))
    assert planned.stderr.count("study tiny is built without steering: model_type is 'llama'") == 1


def test_they_are_left_out_where_the_study_says_so(fresh: Project, tmp_path: Path) -> None:
    project = configured(fresh, tmp_path / "project", "without", ["effects"])
    planned = project.without_jobs("--dry-run")
    assert not (EFFECT_RULES | STEERING_RULES) & set(planned_rules(planned))
    assert planned.stderr.count("study tiny is built without effects (studies.tiny.without)") == 1


def test_without_activations_too_no_job_runs_the_model(fresh: Project, tmp_path: Path) -> None:
    runs_it = {"measure_activation_covariances", "measure_axis_shares_tiny"}
    assert runs_it <= set(fresh.plan())
    project = configured(fresh, tmp_path / "project", "without", ["effects", "activations"])
    # No window of the text is read, however few tokens the model reads at once.
    path = project.folder / "tiny/model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_positions": 8}))
    planned = project.without_jobs("--dry-run", "all", "dataset")
    left = set(planned_rules(planned))
    assert not runs_it & left and not {rule for rule in left if "contexts" in rule or "effects" in rule}
    said = "study tiny is built without effects, activations (studies.tiny.without)"
    assert planned.stderr.count(said) == 1


def test_a_broken_config_of_a_model_is_one_line(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    (project.folder / "tiny/model/config.json").write_text("[]")
    done = project.without_jobs("--dry-run")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: config: studies.tiny.model: tiny/model/config.json: "
    )
