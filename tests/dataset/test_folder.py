"""The folder of a dataset: read by mlcroissant and by the hub's own library; the same bytes each time."""

import hashlib
import html
import re
from pathlib import Path

import mlcroissant
import pandas as pd
import pytest
import yaml

from fsrl.dataset import folder
from fsrl.errors import FsrlError
from tests.fixtures import dataset_tables
from tests.fixtures.dataset_tables import CITATION, SAES


def write(place: Path, tables: dict, **changed) -> Path:
    folder.write(place, dataset_tables.about(**changed), tables, dict.fromkeys(SAES, ("tiny-model", None)))
    return place


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return dataset_tables.build(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def made(tables: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("dataset") / "out", tables)


def test_croissant_is_valid_and_reads_the_records(made: Path, tables: dict) -> None:
    dataset = mlcroissant.Dataset(jsonld=str(made / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    # The day of publication is not known before it.
    assert issues.errors == set() and all("datePublished" in warning for warning in issues.warnings)
    assert {record.name for record in dataset.metadata.record_sets} == set(tables)
    for file in dataset.metadata.distribution:
        assert file.sha256 == hashlib.sha256((made / file.content_url).read_bytes()).hexdigest()
    for table in ("moments", "histograms", "explanations"):
        frame = pd.read_parquet(made / f"data/{table}.parquet")
        read = [row for _, row in zip(range(5), dataset.records(table), strict=False)]
        assert len(read) == 5 and [name.split("/")[1] for name in read[0]] == list(frame.columns)
        for number, row in enumerate(read):
            for name, value in row.items():
                stored = frame.loc[number, name.split("/")[1]]
                value = value.decode() if isinstance(value, bytes) else value
                if isinstance(value, list):
                    assert value == stored.tolist()
                else:
                    assert value == stored or (pd.isna(value) and pd.isna(stored)), name


def test_the_hub_s_library_loads_every_table_by_the_card(made: Path, tables: dict, tmp_path: Path) -> None:
    import datasets

    head = yaml.safe_load((made / "README.md").read_text().split("---")[1])
    assert [config["config_name"] for config in head["configs"]] == list(tables)
    assert head["license"] == "mit" and head["size_categories"] == ["10K<n<100K"]
    assert datasets.get_dataset_config_names(str(made)) == list(tables)
    for table in ("dips", "null_quantiles"):
        found = datasets.load_dataset(str(made), table, split="train", cache_dir=str(tmp_path))
        pd.testing.assert_frame_equal(
            found.to_pandas(), pd.read_parquet(made / f"data/{table}.parquet"), check_dtype=False
        )


def test_the_card_describes_every_column(made: Path, tables: dict) -> None:
    card = (made / "README.md").read_text()
    assert card.count("\n### ") == len(tables)
    for table in tables:
        section = card.split(f"\n### {table}\n")[1].split("\n##")[0]
        rows = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", section, re.M)[1:]
        frame = pd.read_parquet(made / f"data/{table}.parquet")
        assert [name.replace("\\", "") for name, *_ in rows] == list(frame.columns), table
        assert all(html.unescape(meaning) for *_, meaning in rows)
        assert f"{len(frame):,} rows." in section
    assert "fsrl: tiny \\| &lt;b&gt;" in card and "<b>" not in card.split("---", 2)[2]
    assert CITATION["title"] in card and "@software{" in card
    said = dataset_tables.about(citation=CITATION | {"repository-code": "https://example.org/a/fsrl"})
    assert "  url = {https://example.org/a/fsrl},\n}" in said.bibtex
    assert "| sha256 of its weights | " + "a" * 64 in card


def test_every_file_has_its_sum(made: Path) -> None:
    lines = (made / folder.SUMS).read_text().splitlines()
    listed = dict(line.split("  ")[::-1] for line in lines)
    found = {str(path.relative_to(made)): path for path in made.rglob("*") if path.is_file()}
    assert set(listed) == set(found) - {folder.SUMS} and list(listed) == sorted(listed)
    assert all(hashlib.sha256(found[name].read_bytes()).hexdigest() == sum_ for name, sum_ in listed.items())


def test_the_same_tables_give_the_same_bytes_and_none_names_a_place(
    made: Path, tables: dict, tmp_path: Path
) -> None:
    again = write(tmp_path / "elsewhere", dataset_tables.build(tmp_path / "tables"))
    names = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in names:
        content = (made / name).read_bytes()
        assert content == (again / name).read_bytes(), name
        assert b"/home" not in content and b"some one" not in content and b"/tmp" not in content, name


def test_a_study_without_the_view_or_without_explanations(tables: dict, tmp_path: Path) -> None:
    bare = write(tmp_path / "bare", tables, neuronpedia_view=None)
    assert (
        not (bare / "neuronpedia").exists()
        and "nothing in Neuronpedia's layout" in (bare / "README.md").read_text()
    )
    fewer = write(
        tmp_path / "fewer", {name: parts for name, parts in tables.items() if name != "explanations"}
    )
    assert {path.name for path in fewer.glob("neuronpedia/v1/tiny-model/*/*")} == {
        *("release.jsonl", "model.jsonl", "sourceset.jsonl", "source.jsonl"),
        "features",
    }


def test_what_fails_leaves_the_old_folder_and_nothing_else(tables: dict, tmp_path: Path) -> None:
    old = write(tmp_path / "out", tables, neuronpedia_view=None)
    before = (old / folder.SUMS).read_bytes()
    with pytest.raises(FsrlError, match="has no table of moments"):
        write(old, tables | {"moments": tables["moments"][:2]})
    with pytest.raises(FsrlError, match="no such table"):
        write(old, tables | {"dips": [tables["dips"][0].__class__(tmp_path / "lost", None, None)]})
    assert (old / folder.SUMS).read_bytes() == before and list(tmp_path.iterdir()) == [old]
