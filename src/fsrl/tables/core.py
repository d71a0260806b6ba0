"""Every parquet table of the pipeline: its columns, dtypes and units in one place.

A table is written whole or not at all, is checked against its specification on the way in and on the way
out, and carries its provenance (study, model revision, W_U processing, ...) as JSON in the file's metadata
under the key `fsrl`. The same frame and metadata always give the same bytes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.names import KINDS

METADATA_KEY = b"fsrl"

ARROW_TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "list<int64>": pa.list_(pa.int64()),
    "list<string>": pa.list_(pa.string()),
}
# The pandas dtypes that may hold each type; the first is the one that `read` returns, where it can.
PANDAS_TYPES = {
    "int32": ("int32",),
    "int64": ("int64",),
    "float32": ("float32",),
    "float64": ("float64",),
    "string": ("str", "object", "string"),
    "bool": ("bool",),
    "list<int64>": ("object",),
    "list<string>": ("object",),
}
NULLABLE_PANDAS_TYPES = PANDAS_TYPES | {"int64": ("Int64", "int64"), "bool": ("boolean", "bool")}


@dataclass(frozen=True)
class Column:
    """One column: its dtype (a key of `ARROW_TYPES`), unit ("1" where it has none) and meaning, and whether
    it may hold nulls and infinity.
    """

    dtype: str
    unit: str
    description: str
    nullable: bool = False
    infinite: bool = False

    @property
    def pandas_types(self) -> tuple[str, ...]:
        """The pandas dtypes that may hold it, the one that `read` returns first."""
        return (NULLABLE_PANDAS_TYPES if self.nullable else PANDAS_TYPES)[self.dtype]


@dataclass(frozen=True)
class Table:
    """A named table: columns in their order in the file."""

    name: str
    columns: Mapping[str, Column]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema; units and descriptions travel with the file as field metadata."""
        return pa.schema(
            pa.field(
                name,
                ARROW_TYPES[column.dtype],
                nullable=column.nullable,
                metadata={"unit": column.unit, "description": column.description},
            )
            for name, column in self.columns.items()
        )


FEATURE = Column("int32", "1", "row of the decoder")
MEAN = Column(
    "float64", "logit per activation", "mean of the logit weights over the vocabulary, W_U uncentred"
)
STD = Column("float64", "logit per activation", "population standard deviation of the logit weights")
SKEWNESS = Column("float64", "1", "population skewness; null where the row is constant", nullable=True)
KURTOSIS = Column("float64", "1", "Pearson kurtosis (3 for a Gaussian); null where constant", nullable=True)
BIMODALITY = Column("float64", "1", "Sarle's coefficient (skewness^2 + 1) / kurtosis", nullable=True)
NORM = Column("float64", "residual per activation", "Euclidean norm of the direction")
TOKEN_ID = Column("int32", "1", "row of the vocabulary")
TOKEN = Column("string", "1", "token's bytes in GPT-2's byte-level alphabet (a space is Ġ)")
SCHEME = Column("string", "1", "named set of type rules")
NULL_KIND = Column("string", "1", "null model: " + "; ".join(f"{k}: {v}" for k, v in KINDS.items()))

SAE = Column("string", "1", "the SAE's id")
TYPE = Column("string", "1", "a type of the scheme")
LABEL = Column("string", "1", "a type of the scheme, unclassified or degenerate")
LABELLED = Column("int64", "features", "features with this primary label")
MEMBERS = Column("int64", "features", "features that meet the rule, whatever their primary label")
EXPECTED = Column("float64", "features", "null_share times the number of features")


def write(frame: pd.DataFrame, path: str | Path, table: Table, metadata: Mapping[str, str]) -> None:
    """Check `frame` against `table` and write it to `path`, whole or not at all.

    NaN and NA become null where the column is nullable; the frame's index is dropped. Raises FsrlError for a
    missing, extra or misplaced column, another dtype, a missing or infinite value, or metadata not text.
    """
    _check_columns(list(frame.columns), table, f"table {table.name}")
    for name, column in table.columns.items():
        _check_values(frame[name], name, column, table)
    for key, value in metadata.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise FsrlError(
                f"table {table.name}: metadata {key!r} is {value!r}; keys and values must be text"
            )
    payload = json.dumps(dict(metadata), sort_keys=True).encode()
    arrow = pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False)
    # pandas' own metadata would tie the bytes to its version; the schema says all that `read` needs.
    arrow = arrow.replace_schema_metadata({METADATA_KEY: payload})
    with files.atomic_write(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read(path: str | Path, table: Table) -> pd.DataFrame:
    """Read a table that `write` wrote.

    Nullable booleans and integers come back as pandas' `boolean` and `Int64`, nullable floats with NaN, lists
    as arrays. Raises FsrlError where the file is missing, unreadable or not this table.
    """
    arrow = read_columns(path)
    _check_columns(arrow.column_names, table, f"{path} (table {table.name})")
    for name, column in table.columns.items():
        found = arrow.schema.field(name).type
        if found != ARROW_TYPES[column.dtype]:
            raise FsrlError(f"{path} (table {table.name}): column {name} is {found}, expected {column.dtype}")
    columns = {
        name: arrow.column(name).to_pandas().astype(column.pandas_types[0])
        for name, column in table.columns.items()
    }
    return pd.DataFrame(columns)


def read_metadata(path: str | Path) -> dict[str, str]:
    """The provenance that `write` stored in the file; FsrlError where there is none."""
    stored = (_open(path).schema_arrow.metadata or {}).get(METADATA_KEY)
    if stored is None:
        raise FsrlError(f"{path}: no fsrl metadata; the file was not written by fsrl, build it again")
    with _clear_errors(path):
        return json.loads(stored)


def column_names(path: str | Path) -> list[str]:
    """The columns of a parquet file; FsrlError where it is missing or unreadable."""
    return list(_open(path).schema_arrow.names)


def read_columns(path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """These columns of a parquet file, unchecked (None: all); FsrlError where it is missing or unreadable."""
    stored = _open(path)
    with _clear_errors(path):
        return stored.read(columns=columns)


def read_tsv(path: str | Path, **options: Any) -> pd.DataFrame:
    """A table of tab-separated text, options as pandas.read_csv has them; FsrlError where it is no such."""
    if not Path(path).is_file():
        raise FsrlError(f"{path}: no such table; build it first")
    with _clear_errors(path, "table of tab-separated text"):
        return pd.read_csv(path, sep="\t", **options)


def _open(path: str | Path) -> pq.ParquetFile:
    if not Path(path).is_file():
        raise FsrlError(f"{path}: no such table; build it first")
    with _clear_errors(path):
        return pq.ParquetFile(path)


@contextmanager
def _clear_errors(path: str | Path, kind: str = "parquet file") -> Iterator[None]:
    try:
        yield
    except FsrlError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FsrlError(f"{path}: not a readable {kind} ({reason}); delete it and build it again") from error


def _check_columns(found: list[str], table: Table, where: str) -> None:
    expected = list(table.columns)
    if missing := [name for name in expected if name not in found]:
        raise FsrlError(f"{where}: column(s) {', '.join(missing)} missing")
    if extra := [str(name) for name in found if name not in expected]:
        raise FsrlError(f"{where}: unknown column(s) {', '.join(extra)}; known: {', '.join(expected)}")
    if found != expected:
        raise FsrlError(
            f"{where}: columns in another order ({', '.join(found)}); expected {', '.join(expected)}"
        )


def _check_values(values: pd.Series, name: str, column: Column, table: Table) -> None:
    where = f"table {table.name}: column {name}"
    if str(values.dtype) not in column.pandas_types:
        raise FsrlError(f"{where} has dtype {values.dtype}, expected {column.pandas_types[0]}")
    if not column.nullable and (missing := values.isna().to_numpy()).any():
        raise FsrlError(f"{where} has no value at row {missing.argmax()}, and must not be null")
    may_be = column.infinite or not column.dtype.startswith("float")
    if not may_be and (infinite := np.isinf(values.to_numpy())).any():
        raise FsrlError(f"{where} is {values.iloc[infinite.argmax()]} at row {infinite.argmax()}")
