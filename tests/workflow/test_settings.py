"""Every fault in the config stops the run with one line that says where it is and what would be right."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fsrl.errors import FsrlError
from tests.fixtures import tiny_study as tiny
from tests.workflow.conftest import ROOT, Project
from workflow import settings

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def set_at(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return change


def test_the_projects_own_config_is_sound() -> None:
    settings.check(CONFIG, SCHEMA)


def test_every_setting_of_the_schema_is_described() -> None:
    def check(schema: dict[str, Any], place: str) -> None:
        for name, entry in schema.get("properties", {}).items():
            assert entry.get("description"), f"{place}.{name}"
            check(entry, f"{place}.{name}")

    schema = yaml.safe_load(SCHEMA.read_text())
    for place, entry in {"config": schema, **schema["$defs"]}.items():
        check(entry, place)


CALIBRATED = ("types", "schemes", "calibrated", "types")
FAULTS = {
    "unknown key": (set_at("moment", value={}), ["top level", "'moment'", "did you mean 'moments'?"]),
    "typo deep inside": (
        lambda config: config["moments"].update(precison=config["moments"].pop("precision")),
        ["moments", "unknown key 'precison'", "did you mean 'precision'?", "n_bins"],
    ),
    "key that YAML does not read as text": (set_at("views", True, value={}), ["views", "True"]),
    "wrong type": (set_at("nulls", "draws", value="many"), ["nulls.draws", "'many'", "integer"]),
    "out of range": (set_at("nulls", "draws", value=10), ["nulls.draws", "10", "1000"]),
    "no such choice": (set_at("moments", "precision", value="fp8"), ["moments.precision", "fp32, fp64"]),
    "missing setting": (lambda config: config.pop("nulls"), ["top level", "'nulls'"]),
    "unknown study in run": (set_at("run", value=["mimi"]), ["run", "'mimi'", "did you mean 'mini'?"]),
    "unknown study": (set_at("study", value="maxi"), ["study", "'maxi'", "known: mini"]),
    "unknown view": (
        set_at("studies", "mini", "views", value=["main", "trainde"]),
        ["studies.mini.views", "'trainde'", "did you mean 'trained'?"],
    ),
    "figures of a view without tables": (
        set_at("studies", "mini", "figure_views", value=["raw"]),
        ["studies.mini.figure_views", "'raw'", "main, trained, cosine"],
    ),
    "trained tokens without counts": (
        set_at("studies", "mini", "token_counts", value=None),
        ["studies.mini.views", "'trained'", "token_counts"],
    ),
    "scheme reads a view that is not built": (
        set_at("studies", "mini", "views", value=["main", "trained"]),
        ["types.schemes.universal_neurons.view", "study mini", "'cosine'"],
    ),
    "unknown default scheme": (
        set_at("types", "default_scheme", value="calibrate"),
        ["types.default_scheme", "did you mean 'calibrated'?"],
    ),
    "malformed threshold": (
        set_at(*CALIBRATED, "prediction", "skewness", "above", value="nul0.999"),
        ["calibrated", "prediction", "skewness", "above", "'nul0.999'"],
    ),
    "quantile out of range": (
        set_at(*CALIBRATED, "prediction", "skewness", "above", value="q90"),
        ["calibrated", "prediction", "skewness", "above", "q90", "0 and 1"],
    ),
    "unknown column": (
        set_at(*CALIBRATED, "prediction", value={"skew": {"above": 0}}),
        ["calibrated", "prediction", "'skew'", "skewness"],
    ),
    "unknown type": (set_at(*CALIBRATED, "predict", value={}), ["calibrated", "'predict'", "prediction"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_with_its_place_and_the_choices(fault: str) -> None:
    change, parts = FAULTS[fault]
    config = copy.deepcopy(CONFIG)
    change(config)
    with pytest.raises(FsrlError) as error:
        settings.check(config, SCHEMA)
    message = str(error.value)
    assert message.startswith("config: ") and "\n" not in message
    assert [part for part in parts if part not in message] == [], message


def study(folder: Path) -> dict[str, Any]:
    entry = tiny.config("tiny")["studies"]["tiny"]
    return entry | {key: str(folder / entry[key]) for key in ("model", "saes", "token_counts")}


def test_weight_files_are_all_that_is_read(tmp_path: Path, tiny_study: Path) -> None:
    found = settings.weight_files("tiny", study(tiny_study.parent))
    made = [str(path) for path in tiny_study.rglob("*") if path.is_file() and path.name != "config.yaml"]
    assert found == sorted(made)


@pytest.mark.parametrize(
    "name", ["model/tokenizer.json", "saes/blocks.0.hook_resid_pre/cfg.json", "token_counts.safetensors"]
)
def test_a_missing_weight_file_is_named(fresh: Project, tmp_path: Path, name: str) -> None:
    project = fresh.copy(tmp_path / "project")
    (project.folder / "tiny" / name).unlink()
    with pytest.raises(FsrlError, match=f"config: studies.tiny.*{name} is missing"):
        settings.weight_files("tiny", study(project.folder))


def test_an_unknown_sae_is_named_with_those_that_are_there(tiny_study: Path) -> None:
    entry = study(tiny_study.parent) | {"sae_ids": ["blocks.0.hook_resid_post"]}
    with pytest.raises(FsrlError, match=r"studies.tiny.sae_ids: unknown SAE .*blocks.1.hook_resid_post"):
        settings.weight_files("tiny", entry)


THRESHOLD = "types={schemes: {new: {view: main, types: {prediction: {skewness: {above: x}}}}}}"
ELSEWHERE = "elsewhere/blocks.0.hook_resid_pre/cfg.json is missing"


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("stduy=tiny", ["'stduy'", "did you mean 'study'?"]),
        ("study=tinny", ["study", "'tinny'", "did you mean 'tiny'?", "known: tiny, mini"]),
        (THRESHOLD, ["scheme new", "prediction", "skewness", "above", "'x'"]),
        ("studies={tiny: {saes: elsewhere}}", ["studies.tiny.saes", ELSEWHERE]),
    ],
    ids=["unknown key", "unknown study", "malformed threshold", "missing weights"],
)
def test_snakemake_stops_with_one_line_and_writes_nothing(
    fresh: Project, tmp_path: Path, setting: str, parts: list[str]
) -> None:
    project = fresh.copy(tmp_path / "project")
    done = project.snakemake("--config", setting)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if "rror" in line] == [done.stderr.splitlines()[-1]]
    assert [part for part in parts if part not in done.stderr.splitlines()[-1]] == [], done.stderr
    assert not any((project.folder / made).exists() for made in ("results", "figures", "logs"))
