"""The ready studies of other models are planned from the directory alone: no network, no weights."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.fixtures.project import ROOT, Project, environment, planned

STUDIES = yaml.safe_load((ROOT / "config/config.yaml").read_text())["studies"]
# How many dictionaries each has.
READY = {
    "pythia-70m-res": 7,
    "pythia-70m-mlp": 6,
    "pythia-70m-att": 6,
    "gemma-2-2b": 26,
    "gemma-3-270m": 18,
    "gemma-3-1b": 26,
    "llama-3.1-8b": 1,
    "qwen3-1.7b": 4,
}
TRANSCODERS = "gemma-3-270m-transcoders"
PLANNED = [
    pytest.param(TRANSCODERS, 18),
    *(pytest.param(name, count, marks=pytest.mark.slow) for name, count in READY.items()),
]


@pytest.fixture(scope="module")
def catalogued(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, where studies that name no text read that of the tiny one."""
    project = fresh.copy(tmp_path_factory.mktemp("catalogued") / "project")
    path = project.folder / "tiny/config.yaml"
    text = {"study_defaults": {"evaluation_text": "tiny/evaluation_text.txt"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | text))
    return project


@pytest.mark.parametrize(("name", "count"), PLANNED)
def test_a_ready_study_is_planned_offline(catalogued: Project, tmp_path: Path, name: str, count: int) -> None:
    nowhere = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    nowhere |= {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    arguments = ("--dry-run", "--config", f"study={name}")
    done = catalogued.without_jobs(*arguments, given=environment() | nowhere)
    jobs = planned(done)
    assert jobs[f"compute_moments_{name}"] == jobs[f"test_enrichment_{name}"] == count
    assert jobs["fetch_weights"] == jobs["fetch_model"] == 1
    without = re.search(rf"study {name} is built without effects: \S+ is a transcoder", done.stderr)
    assert bool(without) is (name == TRANSCODERS)
    if without:
        assert not {job for job in jobs if "effect" in job}
    # Told by the model's name: nothing of it is here.
    assert not {job for job in jobs if "steering" in job}
    odd = f"study {name} is built without steering: by its name {STUDIES[name]['model']['hub']} is no GPT-2"
    assert (odd in done.stderr) is (name != TRANSCODERS)
    assert "by SAELens' directory" not in done.stderr


def planned_as(project: Project, folder: Path, **study: object) -> str:
    """What a plan of a study of these settings prints, with nothing at hand."""
    copied = project.copy(folder / "project")
    path = copied.folder / "tiny/config.yaml"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"studies": {"asked": study}}))
    nowhere = {"HF_HUB_CACHE": str(folder / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    arguments = ("--dry-run", "--config", "study=asked")
    return copied.without_jobs(*arguments, given=environment() | nowhere).stderr


def test_a_model_that_is_refused_is_refused_before_it_is_fetched(catalogued: Project, tmp_path: Path) -> None:
    said = planned_as(
        catalogued, tmp_path, model={"hub": "openai/gpt-oss-20b"}, saes={"release": "gpt-oss-20b-andyrdt"}
    )
    line = "error: config: studies.asked.model: openai/gpt-oss-20b cannot be studied: its model is published"
    assert said.splitlines()[-1].startswith(line)


def test_a_release_of_another_model_is_said_before_it_is_fetched(catalogued: Project, tmp_path: Path) -> None:
    said = planned_as(
        catalogued, tmp_path, model={"hub": "gpt2"}, saes={"release": "pythia-70m-deduped-res-sm"}
    )
    line = "study asked: release pythia-70m-deduped-res-sm is of EleutherAI/pythia-70m-deduped, by SAELens'"
    assert sum(one.startswith(line) for one in said.splitlines()) == 1


def test_all_that_are_no_gpt2_s_are_planned() -> None:
    others = {name for name, study in STUDIES.items() if study["model"].get("hub") not in (None, "gpt2")}
    assert others == {*READY, TRANSCODERS}


def test_releases_are_listed_without_weights_or_network(fresh: Project, tmp_path: Path) -> None:
    """The table is printed, and written, with a row for each release and a width where one is known."""
    project = fresh.copy(tmp_path / "project")
    assert set(planned(project.without_jobs("--dry-run", "studies"))) == {"list_releases", "studies"}
    done = project.snakemake("studies")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    (first,) = (number for number, line in enumerate(lines) if line.startswith("release "))
    heads = re.split(r" {2,}", lines[first])
    assert heads == ["release", "model", "SAEs", "d_sae", "GB", "Neuronpedia", "supported"]
    # Every cell begins where its head does, or is empty.
    starts = [lines[first].index(head) for head in heads]
    ends = [*starts[1:], None]
    rows = [
        [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]
        for line in lines[first + 1 : first + 171]
    ]
    assert lines[first + 171].endswith(" of 170 releases are supported")
    written = [
        line.split("\t") for line in (project.folder / "results/releases.tsv").read_text().splitlines()
    ]
    assert [row[0] for row in rows] == [row[0] for row in written[1:]] and len(set(map(tuple, rows))) == 170
    assert {row[6].split(":")[0] for row in rows} == {"yes", "no"}
    assert all(row[1] and int(row[2]) > 0 for row in rows)
    assert ["gpt2-small-res-jb", "gpt2", "13", "24576", "2.0", "13", "yes"] in rows
    names = written[0]
    (own,) = (dict(zip(names, row, strict=True)) for row in written[1:] if row[0] == "gpt2-small-res-jb")
    assert own["d_sae"] == "24576" and "gpt2-small" in own["studies"]


def test_what_a_skipped_study_lacks_is_downloaded_without_naming_it(
    catalogued: Project, tmp_path: Path
) -> None:
    nowhere = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    arguments = ("--dry-run", "download", "--config", "run=[tiny,gemma-3-270m]")
    done = catalogued.without_jobs(*arguments, given=environment() | nowhere)
    assert planned(done) == {"fetch_model": 1, "fetch_weights": 1, "download": 1}
    assert "gemma-3-270m" in done.stderr
