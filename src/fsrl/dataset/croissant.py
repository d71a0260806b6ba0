"""Croissant metadata (MLCommons) of a dataset's tables: a file, a record set and its fields for each.

Written by mlcroissant, which is imported here alone; a test reads it back with the same and compares rows.
No date is in it: the day of publication is not known before.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from fsrl import files
from fsrl.dataset.card import About
from fsrl.dataset.merge import Merged

VERSION = "http://mlcommons.org/croissant/1.1"


# As the tables' specifications name dtypes -> as Croissant's DataType does.
KINDS = {
    "int32": "INT32",
    "int64": "INT64",
    "float32": "FLOAT32",
    "float64": "FLOAT64",
    "string": "TEXT",
    "bool": "BOOL",
}


def text(about: About, tables: Sequence[Merged], folder: Path) -> str:
    """JSON-LD that describes data/{table}.parquet in `folder`, where the tables have been written."""
    import mlcroissant as mlc

    metadata = mlc.Metadata(
        ctx=mlc.Context(conforms_to=VERSION),
        name=about.name,
        description=about.abstract,
        license=[f"https://spdx.org/licenses/{about.citation['license']}.html"],
        version=str(about.citation["version"]),
        keywords=list(about.citation["keywords"]),
        cite_as=about.bibtex,
        creators=[mlc.Organization(name=author["name"]) for author in about.citation["authors"]],
        distribution=[_file(mlc, table, folder) for table in tables],
        record_sets=[_records(mlc, table) for table in tables],
    )
    return json.dumps(metadata.to_json(), indent=1, ensure_ascii=False) + "\n"


def _file(mlc: ModuleType, table: Merged, folder: Path) -> Any:
    name = f"{table.name}.parquet"
    path = folder / "data" / name
    return mlc.FileObject(
        id=name,
        name=name,
        content_url=f"data/{name}",
        content_size=f"{path.stat().st_size} B",
        encoding_formats=["application/x-parquet"],
        sha256=files.sha256(path),
    )


def _records(mlc: ModuleType, table: Merged) -> Any:
    fields = [_field(mlc, table.name, *column) for column in table.columns]
    return mlc.RecordSet(id=table.name, name=table.name, fields=fields)


def _field(mlc: ModuleType, table: str, column: str, dtype: str, unit: str, description: str) -> Any:
    item = dtype.removeprefix("list<").rstrip(">")
    return mlc.Field(
        id=f"{table}/{column}",
        name=column,
        description=description if unit == "1" else f"{description} (unit: {unit})",
        data_types=[getattr(mlc.DataType, KINDS[item])],
        **({} if item == dtype else {"is_array": True, "array_shape": "-1"}),
        source=mlc.Source(file_object=f"{table}.parquet", extract=mlc.Extract(column=column)),
    )
