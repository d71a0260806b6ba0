"""Croissant metadata (MLCommons) of a dataset's tables: a file, a record set and its fields for each.

Written by mlcroissant, which is imported here alone; a test reads it back with the same and compares rows.
No date is in it: the day of publication is not known before.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from fsrl import files
from fsrl.dataset.card import About
from fsrl.dataset.merge import Merged

VERSION = "http://mlcommons.org/croissant/1.1"


def text(about: About, tables: Sequence[Merged], folder: Path) -> str:
    """JSON-LD that describes data/{table}.parquet in `folder`, where the tables have been written."""
    import mlcroissant as mlc

    kinds = {
        "int32": mlc.DataType.INT32,
        "int64": mlc.DataType.INT64,
        "float32": mlc.DataType.FLOAT32,
        "float64": mlc.DataType.FLOAT64,
        "string": mlc.DataType.TEXT,
        "bool": mlc.DataType.BOOL,
    }
    objects, records = [], []
    for table in tables:
        name = f"{table.name}.parquet"
        path = folder / "data" / name
        objects.append(
            mlc.FileObject(
                id=name,
                name=name,
                content_url=f"data/{name}",
                content_size=f"{path.stat().st_size} B",
                encoding_formats=["application/x-parquet"],
                sha256=files.sha256(path),
            )
        )
        fields = []
        for column, dtype, unit, description in table.columns:
            item = dtype.removeprefix("list<").rstrip(">")
            fields.append(
                mlc.Field(
                    id=f"{table.name}/{column}",
                    name=column,
                    description=description if unit == "1" else f"{description} (unit: {unit})",
                    data_types=[kinds[item]],
                    **({} if item == dtype else {"is_array": True, "array_shape": "-1"}),
                    source=mlc.Source(file_object=name, extract=mlc.Extract(column=column)),
                )
            )
        records.append(mlc.RecordSet(id=table.name, name=table.name, fields=fields))
    metadata = mlc.Metadata(
        ctx=mlc.Context(conforms_to=VERSION),
        name=about.name,
        description=about.abstract,
        license=[f"https://spdx.org/licenses/{about.citation['license']}.html"],
        version=str(about.citation["version"]),
        keywords=list(about.citation["keywords"]),
        cite_as=about.bibtex,
        creators=[mlc.Organization(name=author["name"]) for author in about.citation["authors"]],
        distribution=objects,
        record_sets=records,
    )
    return json.dumps(metadata.to_json(), indent=1, ensure_ascii=False) + "\n"
