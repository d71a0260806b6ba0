"""A table's parts below one another: each value where it was, in bounded groups, no path of a machine."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fsrl.dataset import merge
from fsrl.dataset.merge import Part
from fsrl.errors import FsrlError
from fsrl.tables import core
from fsrl.tables.moments import EXTREMES
from tests.fixtures import dataset_tables
from tests.fixtures.dataset_tables import SAES, VIEWS


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Part]]:
    return dataset_tables.build(tmp_path_factory.mktemp("tables"))


@pytest.mark.parametrize("group", [7, 999, 2**17])
def test_each_part_is_found_again_whatever_the_groups(
    parts: dict[str, list[Part]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setattr(merge, "GROUP", group)
    table = {7: "explanations"}.get(group, "extremes")
    written = merge.write(table, parts[table], SAES, tmp_path / "t.parquet")
    stored = pq.ParquetFile(tmp_path / "t.parquet")
    sizes = [stored.metadata.row_group(n).num_rows for n in range(stored.num_row_groups)]
    assert set(sizes[:-1]) <= {group} and 0 < sizes[-1] <= group and sum(sizes) == written.rows
    frame = stored.read().to_pandas()
    first = ["sae", "layer", "view"] if table == "extremes" else ["sae", "layer"]
    assert list(frame.columns[: len(first)]) == first
    expected = []
    for part in parts[table]:
        own = core.read_columns(part.path).to_pandas()
        own.insert(0, "sae", part.sae)
        own.insert(1, "layer", SAES[part.sae])
        if part.view:
            own.insert(2, "view", part.view)
        expected.append(own)
    pd.testing.assert_frame_equal(frame, pd.concat(expected, ignore_index=True), check_dtype=False)


def test_columns_say_what_the_specification_says(parts: dict[str, list[Part]], tmp_path: Path) -> None:
    written = merge.write("extremes", parts["extremes"], SAES, tmp_path / "t.parquet")
    found = list(written.columns)
    assert found[3:] == [(name, c.dtype, c.unit, c.description) for name, c in EXTREMES.columns.items()]
    assert all(description for *_, description in found[:3])
    assert pq.read_schema(tmp_path / "t.parquet").field("layer").nullable is False


def test_a_table_with_saes_of_its_own_and_one_that_all_saes_share(
    parts: dict[str, list[Part]], tmp_path: Path
) -> None:
    merge.write("dips", parts["dips"], SAES, tmp_path / "dips.parquet")
    frame = pd.read_parquet(tmp_path / "dips.parquet")
    assert list(frame.columns) == ["sae", "layer", "view", "feature", "sample", "dip", "null_quantile"]
    assert frame[["sae", "layer", "feature"]].to_numpy().tolist() == [
        ["blocks.1.hook_resid_post", 1, 3],
        ["blocks.1.hook_resid_pre", 1, 1],
        ["blocks.0.hook_resid_pre", 0, 2],
    ]
    merge.write("null_quantiles", parts["null_quantiles"], SAES, tmp_path / "q.parquet")
    frame = pd.read_parquet(tmp_path / "q.parquet")
    assert (frame["sae"].isna() == frame["layer"].isna()).all()
    assert (frame["sae"].isna() == (frame["kind"] == "isotropic")).all() and set(frame["view"]) == set(VIEWS)


def test_metadata_is_kept_without_the_paths_of_a_machine(
    parts: dict[str, list[Part]], tmp_path: Path
) -> None:
    merge.write("moments", parts["moments"], SAES, tmp_path / "t.parquet")
    assert b"/home" not in (tmp_path / "t.parquet").read_bytes()
    said = json.loads(pq.read_schema(tmp_path / "t.parquet").metadata[core.METADATA_KEY])
    assert said["all"]["model"] == "secret" and said["all"]["model_sha256"] == "a" * 64
    assert json.loads(said["all"]["sae_training"]) == {"dataset_path": "texts", "ratio": "W_dec / norm"}
    assert [(part["sae"], part["view_name"]) for part in said["parts"]] == [
        (sae, view) for sae in SAES for view in VIEWS
    ]
    assert said["parts"][2]["sae_sha256"] == "1" * 64 and "torch" not in said["parts"][2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/some one/model", "model"),
        ("~/models/tiny", "tiny"),
        ('{"a": "/home/me/x.bin"}', '{"a": "x.bin"}'),
        ("of C:\\Users\\me\\x and more", "of x and more"),
        ("gpt2-small/7-res-jb", "gpt2-small/7-res-jb"),
        ("data/mini/model", "data/mini/model"),
        ("https://huggingface.co/gpt2/tree", "https://huggingface.co/gpt2/tree"),
        ("weights / the scale, W_dec/norm", "weights / the scale, W_dec/norm"),
    ],
)
def test_what_is_a_path_of_a_machine(text: str, expected: str) -> None:
    assert merge.public(text) == expected


def test_what_cannot_be_merged_is_named(parts: dict[str, list[Part]], tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(FsrlError, match="table t has no part"):
        merge.write("t", [], SAES, path)
    with pytest.raises(FsrlError, match="other columns"):
        merge.write("t", [parts["moments"][0], parts["extremes"][0]], SAES, path)
    with pytest.raises(FsrlError, match=r"no layer is known of SAE 'blocks\.1\.hook_resid_post'"):
        merge.write("dips", parts["dips"], {"blocks.0.hook_resid_pre": 0}, path)
    lost = Part(tmp_path / "lost.parquet", None, None)
    with pytest.raises(FsrlError, match="no such table"):
        merge.write("t", [lost], SAES, path)
