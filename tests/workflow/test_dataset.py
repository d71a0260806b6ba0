"""`snakemake dataset` and `snakemake crate` on the tiny study: all its tables, and all files of the run."""

import hashlib
import json
import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from rocrate.rocrate import ROCrate

from tests.fixtures.project import ROOT, Project, planned
from tests.fixtures.tiny_study import SAE_IDS

WITHOUT = yaml.safe_load((ROOT / "config/config.yaml").read_text())["dataset"]["without"]


@pytest.fixture(scope="module")
def published(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The built project with its dataset and its crate."""
    project = built.copy(tmp_path_factory.mktemp("published") / "project")
    dry = project.without_jobs("--dry-run", "dataset", "crate")
    assert set(planned(dry)) == {"write_dataset", "dataset", "write_run_crate", "crate"}
    done = project.snakemake("dataset", "crate")
    assert done.returncode == 0, done.stderr
    return project


def test_every_table_of_the_study_is_in_it(published: Project) -> None:
    """Rows of all parts are counted: those of the study and those of its model."""
    rows: dict[str, int] = {}
    for path in published.folder.glob("results/**/*.parquet"):
        if "dataset" not in path.parts and "benchmarks" not in path.parts:
            columns = str(pq.read_schema(path).names)
            rows[columns] = rows.get(columns, 0) + pq.read_metadata(path).num_rows
    found: dict[str, int] = {}
    for path in published.folder.glob("results/tiny/dataset/data/*.parquet"):
        names = [name for name in pq.read_schema(path).names if name not in ("layer", "view")]
        own = next((key for key in rows if sorted(re.findall(r"'(\w+)'", key)) == sorted(names)), None)
        # Those of SAEs' own have a column sae before their own columns.
        own = own or next(key for key in rows if re.findall(r"'(\w+)'", key) == names[1:])
        found[own] = pq.read_metadata(path).num_rows
    left = {key for key in rows if key not in found}
    nulls = {
        str(pq.read_schema(published.folder / f"results/tiny/{SAE_IDS[0]}/main/{name}.parquet").names)
        for name in WITHOUT
    }
    assert left == nulls and found == {key: rows[key] for key in found}


def test_rows_of_an_sae_and_view_are_those_of_its_table(published: Project) -> None:
    results = published.folder / "results/tiny"
    for table in ("moments", "type_counts", "effects"):
        whole = pd.read_parquet(results / f"dataset/data/{table}.parquet")
        for (sae, view), own in whole.groupby(["sae", "view"], sort=False):
            stored = pd.read_parquet(results / f"{sae}/{view}/{table}.parquet")
            found = own.drop(columns=["sae", "layer", "view"]).reset_index(drop=True)
            pd.testing.assert_frame_equal(found, stored, check_dtype=False)
        assert list(whole["sae"].unique()) == list(SAE_IDS)
        assert set(zip(whole["sae"], whole["layer"], strict=True)) == {(SAE_IDS[0], 0), (SAE_IDS[1], 1)}


def test_nothing_says_where_it_was_made(published: Project) -> None:
    place = str(published.folder).encode()
    for path in [
        published.folder / "ro-crate-metadata.json",
        *(published.folder / "results/tiny/dataset").rglob("*"),
    ]:
        assert path.is_dir() or place not in path.read_bytes(), path


def test_the_crate_lists_what_the_run_made(published: Project) -> None:
    crate = ROCrate(str(published.folder))
    listed = {entity.id: entity for entity in crate.data_entities}
    for name, entity in listed.items():
        assert entity["sha256"] == hashlib.sha256((published.folder / name).read_bytes()).hexdigest(), name
    made = {
        result.id: Path(action["instrument"].id).stem
        for action in crate.get_by_type("CreateAction")
        for result in action["result"]
    }
    assert made[f"results/tiny/{SAE_IDS[0]}/main/moments.parquet"] == "compute_moments"
    assert made["results/tiny/explanations/words.parquet"] == "count_explanation_words"
    assert {"figures/tiny/trained/layers_grid.png", "results/tiny/summary/trained.tsv"} <= made.keys()
    assert {"Snakefile", "config/config.yaml", "src/fsrl/moments/engine.py"} <= listed.keys() - made.keys()
    assert "tiny/model/model.safetensors" in listed


def test_the_crate_says_by_which_config(published: Project) -> None:
    crate = ROCrate(str(published.folder))
    overlay = json.loads((published.folder / "tiny/config.yaml").read_text())
    found = json.loads(crate.get("#config")["text"])
    assert found["studies"]["tiny"] == overlay["studies"]["tiny"]
    defaults = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert found["study_defaults"] == defaults["study_defaults"]
    for action in crate.get_by_type("CreateAction"):
        assert {"tiny/config.yaml", "config/config.yaml", "#config"} <= {one.id for one in action["object"]}


def test_tables_that_may_be_left_out_are_those_that_are_published() -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    known = schema["properties"]["dataset"]["properties"]["without"]["items"]["enum"]
    assert set(WITHOUT) <= set(known) and not {"moments", "extremes", "histograms"} & set(known)


def test_a_table_that_there_is_not_is_refused(fresh: Project) -> None:
    done = fresh.without_jobs("--dry-run", "dataset", "--config", "dataset={without: [moments]}")
    assert done.returncode != 0 and "dataset.without" in done.stderr and "'moments'" in done.stderr
    done = fresh.without_jobs("--dry-run", "dataset", "--config", "dataset={neuronpedia_views: [mine]}")
    assert done.returncode != 0 and "dataset.neuronpedia_views" in done.stderr
