"""Parquet tables: what goes in comes out, in the same bytes each time; a wrong frame is never written."""

import importlib
import os
import pkgutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import fsrl.tables
from fsrl.errors import FsrlError
from fsrl.tables import core as tables
from fsrl.tables.moments import HISTOGRAMS, MOMENTS
from fsrl.tables.tokens import TOKENS
from fsrl.tables.types import TYPES


def moments_frame():
    floats = {name: [0.5, 1.5, 2.5] for name in ("mean", "std", "norm")}
    shapes = {
        name: [1.0, np.nan, 3.0] for name, column in MOMENTS.columns.items() if column.dtype == "float64"
    }
    return pd.DataFrame(
        {
            "feature": np.arange(3, dtype=np.int32),
            **(shapes | floats),
            "log10_density": np.array([-1, np.nan, -10], dtype=np.float32),
            "alive": pd.array([True, None, False], dtype="boolean"),
        }
    )


def histograms_frame():
    return pd.DataFrame(
        {
            "feature": np.arange(2, dtype=np.int32),
            "underflow": [0, 1],
            "counts": pd.Series([np.array([1, 2]), np.array([3, 4])], dtype="object"),
            "overflow": [2, 0],
        }
    )


def tokens_frame():
    return pd.DataFrame(
        {
            "token_id": np.arange(3, dtype=np.int32),
            "token": ["Ġthe", '"', "\n"],
            "text": [" the", '"', "\n"],
            "count": pd.array([10, None, 3], dtype="Int64"),
            "trained": pd.array([True, False, None], dtype="boolean"),
        }
    )


FRAMES = [
    (MOMENTS, moments_frame()),
    (HISTOGRAMS, histograms_frame()),
    (TOKENS, tokens_frame()),
]


@pytest.mark.parametrize(("table", "frame"), FRAMES, ids=lambda value: getattr(value, "name", ""))
def test_what_is_written_is_read(tmp_path, table, frame):
    path = tmp_path / "new folder" / "table.parquet"
    tables.write(frame.set_index(frame.columns[0], drop=False), path, table, {"study": "mini"})
    pd.testing.assert_frame_equal(tables.read(path, table), frame)
    assert tables.read_metadata(path) == {"study": "mini"}


def test_every_table_s_columns_can_be_written():
    names = [one.name for one in pkgutil.iter_modules(fsrl.tables.__path__)]
    found = [vars(importlib.import_module(f"fsrl.tables.{name}")).values() for name in names]
    specs = [one for values in found for one in values if isinstance(one, tables.Table)]
    assert len(specs) > 20
    wrong = [(one.name, name) for one in specs for name, column in one.columns.items() if not _known(column)]
    assert wrong == []


def _known(column: tables.Column) -> bool:
    return column.dtype in tables.ARROW_TYPES and column.dtype in tables.NULLABLE_PANDAS_TYPES


def test_missing_values_become_nulls_in_the_file(tmp_path):
    tables.write(moments_frame(), tmp_path / "t", MOMENTS, {})
    stored = pq.read_table(tmp_path / "t")
    assert stored.column("kurtosis").to_pylist() == [1.0, None, 3.0]
    assert stored.column("alive").to_pylist() == [True, None, False]
    assert stored.column("log10_density").null_count == 1


def test_units_and_descriptions_travel_with_the_file(tmp_path):
    tables.write(moments_frame(), tmp_path / "t", MOMENTS, {})
    metadata = pq.read_schema(tmp_path / "t").field("std").metadata
    assert metadata[b"unit"] == b"logit per activation"
    assert b"standard deviation" in metadata[b"description"]


def test_same_content_gives_same_bytes(tmp_path):
    for number, metadata in enumerate(({"a": "1", "b": "2"}, {"b": "2", "a": "1"})):
        tables.write(moments_frame(), tmp_path / str(number), MOMENTS, metadata)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns=["std", "norm"]), r"column\(s\) std, norm missing"),
        (lambda f: f.assign(entropy=1.0), r"unknown column\(s\) entropy"),
        (lambda f: f[f.columns[::-1]], "columns in another order"),
        (lambda f: f.astype({"std": "float32"}), "column std has dtype float32, expected float64"),
        (lambda f: f.astype({"feature": "int64"}), "column feature has dtype int64, expected int32"),
        (lambda f: f.astype({"feature": "Int32"}), "column feature has dtype Int32"),
        (lambda f: f.assign(std=[1.0, np.nan, 1.0]), "column std has no value at row 1"),
        (lambda f: f.assign(kurtosis=[1.0, 2.0, np.inf]), "column kurtosis is inf at row 2"),
        (lambda f: f.assign(right_share=[1.0, 2.0, -np.inf]), "column right_share is -inf at row 2"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_and_nothing_written(tmp_path, change, message):
    with pytest.raises(FsrlError, match=f"table moments: {message}"):
        tables.write(change(moments_frame()), tmp_path / "t", MOMENTS, {})
    assert os.listdir(tmp_path) == []


def test_infinity_is_kept_apart_from_null_where_a_column_may_hold_it(tmp_path):
    frame = moments_frame().assign(tail_tokens=[np.inf, np.nan, 3.0])
    tables.write(frame, tmp_path / "t", MOMENTS, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "t", MOMENTS), frame)


def test_metadata_must_be_text(tmp_path):
    with pytest.raises(FsrlError, match="metadata 'layer' is 3"):
        tables.write(moments_frame(), tmp_path / "t", MOMENTS, {"layer": 3})


def test_a_write_that_fails_leaves_the_old_table_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "moments.parquet"
    tables.write(moments_frame(), path, MOMENTS, {})
    before = path.read_bytes()

    def broken(table, where, **settings):
        where.write_bytes(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", broken)
    with pytest.raises(OSError, match="disk full"):
        tables.write(moments_frame(), path, MOMENTS, {"new": "one"})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_missing_broken_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(FsrlError, match="absent: no such table"):
        tables.read(tmp_path / "absent", MOMENTS)
    broken = tmp_path / "broken"
    broken.write_bytes(b"PAR1 and no more")
    with pytest.raises(FsrlError, match="broken: not a readable parquet file"):
        tables.read_metadata(broken)
    foreign = tmp_path / "foreign"
    pd.DataFrame({"feature": [1.5]}).to_parquet(foreign)
    with pytest.raises(FsrlError, match="no fsrl metadata"):
        tables.read_metadata(foreign)
    with pytest.raises(FsrlError, match=r"foreign \(table types\): column\(s\) scheme"):
        tables.read(foreign, TYPES)


def test_a_table_with_damage_inside_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    tables.write(moments_frame(), path, MOMENTS, {})
    content = bytearray(path.read_bytes())
    # The footer, which is read first, is whole.
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(FsrlError, match=r"t.parquet: not a readable parquet file .*; delete it and build it"):
        tables.read(path, MOMENTS)


@pytest.mark.parametrize("content", [b"", bytes(range(256)), b"a\tb\n1\t2\t3\n1\n1\t2\t3\t4\n"])
def test_text_that_is_no_table_is_named(tmp_path, content):
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    with pytest.raises(FsrlError, match=r"t.tsv: not a readable table of tab-separated text .*; delete"):
        tables.read_tsv(path)
    path.unlink()
    with pytest.raises(FsrlError, match="t.tsv: no such table; build it first"):
        tables.read_tsv(path)


def test_a_column_of_another_type_is_refused_on_reading(tmp_path):
    moments_frame().astype({"std": "float32"}).to_parquet(tmp_path / "t")
    with pytest.raises(FsrlError, match="column std is float, expected float64"):
        tables.read(tmp_path / "t", MOMENTS)
