"""The RO-Crate of a run, read back by rocrate: every file is there with its hash, and what made it."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from fsrl.dataset import run_crate
from fsrl.dataset.run_crate import Run
from fsrl.errors import FsrlError
from tests.fixtures import dataset_tables
from tests.fixtures.dataset_tables import CITATION, SAES

SCRIPT = "workflow/scripts/compute_moments.py"
SNAKEFILE = "Snakefile"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a run's files: tables, a folder of figures, code, settings."""
    dataset_tables.build(tmp_path / "results/tiny")
    for name in (SNAKEFILE, SCRIPT, "config/config.yaml", "figures/tiny/splits/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    # Snakemake's mark in a folder that is an output.
    (tmp_path / "figures/tiny/splits/.snakemake_timestamp").touch()
    return tmp_path


def run(project: Path) -> Run:
    made = sorted(str(path.relative_to(project)) for path in (project / "results").rglob("moments.parquet"))
    return Run(
        results=[*made, "figures/tiny/splits"],
        scripts=[SCRIPT] * len(made) + [None],
        given=["config/config.yaml", SCRIPT],
        workflow=SNAKEFILE,
        citation=CITATION,
        studies=["tiny"],
        overlays=[],
        config={"device": "auto"},
    )


def test_every_file_that_is_listed_exists_with_its_size_and_hash(project: Path) -> None:
    run_crate.write(project, run(project))
    crate = ROCrate(str(project))
    listed = {entity.id: entity for entity in crate.data_entities}
    assert set(listed) == {
        SNAKEFILE,
        SCRIPT,
        "config/config.yaml",
        "figures/tiny/splits/a.png",
        *(f"results/tiny/{sae}/{view}/moments.parquet" for sae in SAES for view in dataset_tables.VIEWS),
    }
    for name, entity in listed.items():
        content = (project / name).read_bytes()
        assert entity["sha256"] == hashlib.sha256(content).hexdigest()
        assert entity["contentSize"] == str(len(content))
    assert crate.mainEntity.id == SNAKEFILE and crate.mainEntity["programmingLanguage"].id.endswith(
        "snakemake"
    )


def test_what_made_a_table_and_of_which_weights(project: Path) -> None:
    run_crate.write(project, run(project))
    crate = ROCrate(str(project))
    made = {}
    for action in crate.get_by_type("CreateAction"):
        for result in action["result"]:
            made[result.id] = action["instrument"].id
        assert [used.id for used in action["object"]] == ["config/config.yaml", "#config"]
    assert made.pop("figures/tiny/splits/a.png") == SNAKEFILE and set(made.values()) == {SCRIPT}
    last = crate.get(f"results/tiny/{list(SAES)[2]}/main/moments.parquet")
    weights = {weights["description"]: weights for weights in last["isBasedOn"]}
    assert {what: one["sha256"] for what, one in weights.items()} == {
        "weights of the model": "a" * 64,
        "weights of the SAE": "1" * 64,
    }
    assert weights["weights of the model"]["name"] == "secret"
    assert last["additionalProperty"]["value"] == "cpu (unnamed)"
    versions = {one["name"]: one["softwareVersion"] for one in crate.get_by_type("SoftwareApplication")}
    assert versions["torch"] == "2.0" and versions.keys() == {"torch", "python", "snakemake"}


def test_it_has_the_time_of_the_run_and_no_path(project: Path) -> None:
    asked = run(project)
    for number, path in enumerate(asked.results):
        os.utime(project / path, (0, 1_700_000_000 + number))
    os.utime(project / "figures/tiny/splits/a.png", (0, 1_700_000_000))
    run_crate.write(project, asked)
    text = (project / run_crate.NAME).read_text()
    assert json.loads(text)["@graph"][0]["datePublished"] == "2023-11-14T22:13:25+00:00"
    assert str(project) not in text and "some one" not in text
    run_crate.write(project, asked)
    assert (project / run_crate.NAME).read_text() == text


def test_the_config_that_was_built_by_is_told_and_nothing_of_the_machine(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    elsewhere = tmp_path_factory.mktemp("someone") / "mine.yaml"
    elsewhere.write_text("device: cpu")
    (project / "tiny.yaml").write_text("seed: 1")
    config = {
        "device": "cpu",
        "study": None,
        "studies": {"tiny": {"ids": ["a", f"{project}/saes/b"], "text": f"see {elsewhere}", "seed": 1}},
        "texts": [
            str(elsewhere),
            "../someone/text.txt",
            "data/text.txt",
            "https://a.org/b/c?token=hf_secret",
        ],
        "tokens": ["/", "/s", r"^\s\d+/\d+$", "~/of mine/text.txt"],
    }
    given = ["config/config.yaml", SCRIPT]
    overlays = ["tiny.yaml", str(elsewhere), "config/config.yaml"]
    run_crate.write(project, replace(run(project), given=given, overlays=overlays, config=config))
    crate = ROCrate(str(project))
    files = {"config/config.yaml", "tiny.yaml"}
    assert crate.get("tiny.yaml")["sha256"] == hashlib.sha256(b"seed: 1").hexdigest()
    for action in crate.get_by_type("CreateAction"):
        used = {one.id: one for one in action["object"]}
        assert len(used) == len(action["object"]) == 4 and files < used.keys()
        [other] = [one for name, one in used.items() if name not in files and name != "#config"]
        assert (other["name"], other["sha256"]) == ("mine.yaml", hashlib.sha256(b"device: cpu").hexdigest())
    assert json.loads(crate.get("#config")["text"]) == {
        "device": "cpu",
        "study": None,
        "studies": {"tiny": {"ids": ["a", "saes/b"], "text": "see mine.yaml", "seed": 1}},
        "texts": ["mine.yaml", "text.txt", "data/text.txt", "https://a.org/b/c"],
        "tokens": ["/", "/s", r"^\s\d+/\d+$", "text.txt"],
    }
    text = (project / run_crate.NAME).read_text()
    assert str(elsewhere.parent) not in text and str(project) not in text and "hf_secret" not in text


def test_a_result_that_is_missing_is_named(project: Path) -> None:
    asked = run(project)
    (project / asked.results[0]).unlink()
    with pytest.raises(FsrlError, match="moments.parquet: no such file"):
        run_crate.write(project, asked)
    assert not (project / run_crate.NAME).exists()
