"""`snakemake predictions`: faults of the file, what is judged from which tables, what is not run and why."""

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from fsrl.errors import FsrlError
from fsrl.predictions.conditions import Layer
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS
from fsrl.tables.predictions import PREDICTIONS
from tests.fixtures.prediction_examples import layer
from tests.fixtures.project import ROOT, Project, planned
from tests.fixtures.tiny_study import D_SAE, SAE_IDS
from workflow import settings

SCHEMA = ROOT / "workflow/schemas/predictions.schema.yaml"
ABOUT = {"study": "tiny", "view": "trained", "reason": "We say so.", "source": "us"}
TYPED = {"label": {"scheme": "post", "any": ["typed"]}}
OWN: dict[str, dict[str, Any]] = {
    "rows": ABOUT | {"kind": "count", "saes": list(SAE_IDS), "where": {"norm": {"min": 0}}, "min": 2 * D_SAE},
    "typed_by_post": ABOUT | {"kind": "share", "saes": [SAE_IDS[0]], "where": TYPED, "min": 0.1},
    "kurtosis_of_row_0": ABOUT
    | {
        "kind": "value",
        "view": "main",
        "sae": SAE_IDS[0],
        "feature": 0,
        "values": {"kurtosis": 100},
        "tolerances": {"kurtosis": 1},
    },
    "elsewhere": ABOUT
    | {
        "kind": "label",
        "study": "gpt2-small",
        "sae": "blocks.8.hook_resid_pre",
        "feature": 24575,
        "scheme": "calibrated",
        "labels": ["partition"],
    },
}
HEADER = {"registered": "2026-11-29"}
VALUE, SHARE = OWN["kurtosis_of_row_0"], OWN["typed_by_post"]


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no date": ({"predictions": OWN}, ["top level", "'registered'"]),
    "a date that is none": ({"registered": "today", "predictions": OWN}, ["registered", "'today'"]),
    "nothing": (HEADER | {"predictions": {}}, ["predictions", "empty"]),
    "another key": (HEADER | {"prediction": {}, "predictions": OWN}, ["'prediction'", "did you mean"]),
    "no kind": (HEADER | {"predictions": {"x": without(VALUE, "kind")}}, ["predictions.x", "'kind'"]),
    "an odd name": (HEADER | {"predictions": {"X y": VALUE}}, ["predictions", "'X y'"]),
    **{
        name: (HEADER | {"predictions": {"ours": entry}}, ["predictions.ours", *said])
        for name, entry, said in (
            ("an unknown kind", VALUE | {"kind": "mean"}, ["'mean'", "value, label, quantile"]),
            ("a key of another kind", VALUE | {"rho": 0.5}, ["unknown key 'rho'"]),
            ("no reason", without(VALUE, "reason"), ["'reason'"]),
            ("an empty source", VALUE | {"source": " "}, ["source", "write a word"]),
            ("an unknown column", VALUE | {"values": {"skew": 1}}, ["values", "'skew'"]),
            ("a tolerance of nothing", VALUE | {"tolerances": {"kurtosis": 0}}, ["tolerances.kurtosis", "0"]),
            ("no number", VALUE | {"values": {"kurtosis": "3"}}, ["values.kurtosis", "number"]),
            ("not a number", VALUE | {"values": {"kurtosis": float("nan")}}, ["values.kurtosis", "finite"]),
            ("half a row", VALUE | {"feature": 0.5}, ["feature", "integer"]),
            ("a share beyond one", SHARE | {"min": 5}, ["min", "5"]),
            ("an unknown bound", SHARE | {"where": {"std": {"over": 1}}}, ["where.std", "'over'"]),
            ("an empty condition", SHARE | {"where": {}}, ["where", "empty"]),
            ("no SAE", SHARE | {"saes": []}, ["saes", "empty"]),
        )
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_file_is_one_line_with_its_place(tmp_path: Path, fault: str) -> None:
    content, parts = FAULTS[fault]
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(FsrlError) as caught:
        settings.predictions(str(tmp_path / "p.yaml"), SCHEMA)
    said = str(caught.value)
    assert said.startswith("config: ") and "\n" not in said
    assert [part for part in parts if part not in said] == [], said


def test_every_key_is_described_and_every_column_is_there() -> None:
    schema = yaml.safe_load(SCHEMA.read_text())
    own = layer(std=[0.1])
    kinds = schema["properties"]["predictions"]["additionalProperties"]["properties"]["kind"]["enum"]
    for kind in kinds:
        for name, entry in schema["$defs"][kind]["properties"].items():
            assert entry.get("description"), f"{kind}.{name}"
    columns = schema["$defs"]["quantile"]["properties"]["column"]["enum"]
    assert set(schema["$defs"]["condition"]["properties"]) == {*columns, "label"}
    for column in columns:
        assert Layer.values(own, column).shape == (1,)
    assert set(columns) - {"std_by_norm"} <= set(MOMENTS.columns)


def predicting(project: Project, folder: Path, **predictions: dict[str, Any]) -> Project:
    """A copy of the project with these predictions."""
    copy = project.copy(folder / "project")
    write(copy, **predictions)
    return copy


def write(project: Project, **predictions: dict[str, Any]) -> None:
    (project.folder / "tiny/predictions.yaml").write_text(
        yaml.safe_dump(HEADER | {"predictions": predictions}, sort_keys=False)
    )
    path = project.folder / "tiny/config.yaml"
    config = json.loads(path.read_text()) | {"predictions": "tiny/predictions.yaml"}
    path.write_text(json.dumps(config))


def verdicts(project: Project) -> dict[str, str]:
    frame = tables.read(project.folder / "results/predictions.parquet", PREDICTIONS)
    return dict(zip(frame["prediction"], frame["verdict"], strict=True))


def said(text: str) -> list[str]:
    """The lines about predictions, of a run or of the log."""
    return re.findall(r"(?:held|failed|not run|predictions): .*", text)


def test_the_project_s_own_are_not_run_without_weights_and_nothing_is_fetched(fresh: Project) -> None:
    for study in ("tiny", "gpt2-small"):
        dry = fresh.without_jobs("--dry-run", "predictions", "--config", f"study={study}")
        assert set(planned(dry)) == {"judge_predictions", "predictions"}


def test_each_study_is_judged_from_its_tables_and_each_verdict_is_printed(
    built: Project, tmp_path: Path
) -> None:
    project = predicting(built, tmp_path, **OWN)
    assert set(planned(project.without_jobs("--dry-run", "predictions"))) == {
        "judge_predictions",
        "predictions",
    }
    done = project.snakemake("predictions")
    assert done.returncode == 0, done.stderr
    expected = {"rows": "held", "typed_by_post": "held", "kurtosis_of_row_0": "failed"}
    assert verdicts(project) == expected | {"elsewhere": "not run"}
    lines = said(done.stderr)
    assert [line.split(" (")[0] for line in lines[:3]] == [
        "held: rows",
        "held: typed_by_post",
        "failed: kurtosis_of_row_0",
    ]
    assert "its weights are not on this machine; get them with `snakemake --cores 1 download" in lines[3]
    assert lines[4] == "predictions: 2 held, 1 failed, 1 not run"
    assert said((project.folder / "logs/predictions.log").read_text()) == lines

    path = project.folder / "results/predictions.parquet"
    frame, metadata = tables.read(path, PREDICTIONS), tables.read_metadata(path)
    assert metadata["registered"] == "2026-11-29" and json.loads(metadata["predictions"]) == OWN
    moments = project.folder / f"results/tiny/{SAE_IDS[1]}/trained/moments.parquet"
    made = tables.read_metadata(moments)
    assert frame["model_sha256"][0] == made["model_sha256"] and len(made["model_sha256"]) == 64
    assert frame["sae_sha256"][0][1] == made["sae_sha256"]
    text = (project.folder / "results/predictions.tsv").read_text().splitlines()
    assert len(text) == 1 + len(OWN) and text[0].split("\t") == list(PREDICTIONS.columns)

    # Said again, though nothing is judged anew; and of a study that was not asked for, from its tables.
    again = project.snakemake("predictions")
    assert set(planned_jobs(again.stderr)) == {"predictions"} and said(again.stderr) == lines
    asked = project.snakemake("predictions", "--config", "study=gpt2-small")
    assert asked.returncode == 0 and said(asked.stderr) == lines


def planned_jobs(text: str) -> list[str]:
    """The rules in a run's table of jobs."""
    rows = re.findall(r"^ (\S.*?) +\d+ *$", text.split("Job stats")[1], re.M)
    return [row for row in rows if row != "total"]


def test_tables_that_are_not_built_and_rows_that_are_not_there(built: Project, tmp_path: Path) -> None:
    project = predicting(built, tmp_path, kurtosis_of_row_0=VALUE | {"feature": D_SAE})
    done = project.snakemake("predictions")
    assert done.returncode != 0
    lacking = f"{SAE_IDS[0]} has no feature {D_SAE} (it has {D_SAE})"
    assert f"error: predictions.kurtosis_of_row_0 (study tiny): {lacking}" in done.stderr
    assert not (project.folder / "results/predictions.parquet").exists()

    write(project, rows=OWN["rows"] | {"saes": ["blocks.9.hook_resid_pre"]})
    done = project.without_jobs("--dry-run", "predictions")
    [line] = [line for line in done.stderr.splitlines() if "rror" in line]
    assert line.startswith("error: predictions.rows (study tiny): there is no SAE 'blocks.9.hook_resid_pre'")

    write(project, rows=OWN["rows"])
    path = project.folder / "tiny/predictions.yaml"
    path.write_text(path.read_text() + "registered: today\n")
    done = project.without_jobs("--dry-run", "predictions")
    [line] = [line for line in done.stderr.splitlines() if "rror" in line]
    assert "error: config: tiny/predictions.yaml, line" in line and "'registered' is written twice" in line
    # Whoever doesn't ask for predictions does not hear of it.
    assert project.without_jobs("--dry-run", "results/models/tiny-model/tokens.parquet").returncode == 0

    write(project, rows=OWN["rows"])
    shutil.rmtree(project.folder / f"results/tiny/{SAE_IDS[1]}/trained")
    done = project.snakemake("predictions", "--config", "study=gpt2-small")
    assert done.returncode == 0, done.stderr
    [line, _] = said(done.stderr)
    assert line == (
        "not run: 1 of study tiny (rows): its tables are not built; "
        "`snakemake --cores 8 predictions --config study=tiny` builds them"
    )
    # With its weights at hand it is built for the asking.
    assert "compute_moments_tiny" in planned(project.without_jobs("--dry-run", "predictions"))


def test_tables_of_a_study_that_is_skipped_are_judged_as_they_stand(built: Project, tmp_path: Path) -> None:
    """No rule may take them for its own, though their SAE is called as one of another study."""
    project = predicting(built, tmp_path, typed=SHARE | {"study": "ours", "saes": [SAE_IDS[0]]})
    path = project.folder / "tiny/config.yaml"
    config = json.loads(path.read_text())
    release = {"release": "gpt2-small-res-jb", "ids": [SAE_IDS[0]]}
    config["studies"]["ours"] = {"model": {"hub": "gpt2"}, "saes": release}
    path.write_text(json.dumps(config | {"run": ["tiny", "ours"]}))
    shutil.copytree(project.folder / "results/tiny", project.folder / "results/ours")
    # Younger than what a rule would make of them.
    later = time.time() + 60
    os.utime(project.folder / f"results/ours/{SAE_IDS[0]}/trained/moments.parquet", (later, later))
    dry = project.without_jobs("--dry-run", "predictions")
    assert set(planned(dry)) == {"judge_predictions", "predictions"}
    (project.folder / f"results/ours/{SAE_IDS[0]}/trained/types.parquet").unlink()
    done = project.snakemake("predictions")
    [line, _] = said(done.stderr)
    assert line.startswith("not run: 1 of study ours (typed): its weights are not on this machine")
