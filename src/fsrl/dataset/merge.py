"""One parquet file a table: the parts of a table, one of each SAE and view, below one another.

Columns that say which part a row is of come first: sae, layer and view, as far as the table's parts differ
in them or are of one. A part's own column sae is the first where it has one. Units and descriptions travel
as field metadata, as in the parts (`fsrl.tables`); what the parts were made from is in the file's metadata:
what all have in common, and what each has of its own. Paths there are cut to their last part.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fsrl.errors import FsrlError
from fsrl.tables import core
from fsrl.tables.core import METADATA_KEY, SAE

# Rows of one group, which is what a writer or a reader holds in memory at once.
GROUP = 2**17
# An absolute path within a text: two names, each after a slash, that neither follow a word nor a protocol.
_PATH = re.compile(r"(?<![\w./:~-])(?:~|[A-Za-z]:)?(?:[/\\][\w.+@~-]+){2,}[/\\]?")
_LAYER = ("int32", "the model's block in which the SAE's hook is, from 0; null where there is no SAE")
_VIEW = ("string", "how W_U and the decoder were processed (see README.md)")


@dataclass(frozen=True)
class Part:
    """A file of a table: of which SAE and view, None where it is of none or of all."""

    path: Path
    sae: str | None
    view: str | None


@dataclass(frozen=True)
class Merged:
    """What was written of a table: its columns with unit and description, and how many rows."""

    name: str
    schema: pa.Schema
    rows: int

    @property
    def columns(self) -> Iterator[tuple[str, str, str, str]]:
        """(name, type, unit, description) of each column, in the file's order."""
        for field in self.schema:
            said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
            yield field.name, _type(field.type), said.get("unit", "1"), said.get("description", "")


def write(name: str, parts: Sequence[Part], layers: Mapping[str, int], path: Path) -> Merged:
    """Write the parts of table `name` to `path`, in their order; memory holds a group of rows at a time.

    layers: layer of each SAE. Raises FsrlError for no part, parts whose columns differ, an SAE without a
    layer, and a column that already has the name of one of those that are put first.
    """
    if not parts:
        raise FsrlError(f"dataset: table {name} has no part; build the study's tables first")
    schema = _schema(name, parts)
    schema = schema.with_metadata({METADATA_KEY: json.dumps(provenance(parts), sort_keys=True).encode()})
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        waiting: list[pa.Table] = []
        for part in parts:
            for batch in _open(part.path).iter_batches(batch_size=GROUP):
                waiting.append(_placed(pa.Table.from_batches([batch]), part, layers, schema))
                if sum(table.num_rows for table in waiting) >= GROUP:
                    waiting = _write_groups(writer, waiting, schema)
            rows += _open(part.path).metadata.num_rows
        if left := pa.concat_tables([schema.empty_table(), *waiting]):
            writer.write_table(left, row_group_size=GROUP)
    return Merged(name, schema, rows)


def provenance(parts: Sequence[Part]) -> dict[str, Any]:
    """What the parts' metadata says: what is the same in "all", and of each part the rest in "parts"."""
    found = [{key: public(value) for key, value in core.read_metadata(part.path).items()} for part in parts]
    same = {key: value for key, value in found[0].items() if all(other.get(key) == value for other in found)}
    own = [
        {"sae": part.sae, "view_name": part.view}
        | {key: value for key, value in said.items() if key not in same}
        for part, said in zip(parts, found, strict=True)
    ]
    return {"all": same, "parts": own}


def public(text: str) -> str:
    """The text with absolute paths, which tell of a machine and its users, cut to their last part.

    >>> public("/home/someone/models/tiny"), public("W_dec / norm"), public("https://a.org/b/c")
    ('tiny', 'W_dec / norm', 'https://a.org/b/c')
    """
    if text.startswith(("/", "~/")):  # a path as a whole may hold blanks
        return Path(text).name
    return _PATH.sub(lambda match: re.split(r"[/\\]", match[0].rstrip("/\\"))[-1], text)


def _schema(name: str, parts: Sequence[Part]) -> pa.Schema:
    own = _open(parts[0].path).schema_arrow.remove_metadata()
    for part in parts[1:]:
        if not _open(part.path).schema_arrow.remove_metadata().equals(own):
            raise FsrlError(f"dataset: {part.path} has other columns than {parts[0].path}; build both again")
    first: list[pa.Field] = []
    if "sae" in own.names:
        first.append(own.field("sae"))
        own = own.remove(own.get_field_index("sae"))
    elif any(part.sae is not None for part in parts):
        shared = any(part.sae is None for part in parts)
        said = SAE.description + ("; null: shared by all" if shared else "")
        first.append(_field("sae", "string", said, nullable=shared))
    if first:
        first.append(_field("layer", *_LAYER, nullable=first[0].nullable))
    if any(part.view is not None for part in parts):
        first.append(_field("view", *_VIEW, nullable=any(part.view is None for part in parts)))
    if taken := [field.name for field in first if field.name in own.names]:
        raise FsrlError(f"dataset: table {name} has a column {taken[0]} of its own; rename one of the two")
    return pa.schema([*first, *own])


def _field(name: str, dtype: str, description: str, *, nullable: bool) -> pa.Field:
    said = {"unit": "1", "description": description}
    return pa.field(name, core.ARROW_TYPES[dtype], nullable=nullable, metadata=said)


def _placed(table: pa.Table, part: Part, layers: Mapping[str, int], schema: pa.Schema) -> pa.Table:
    """The part's rows with the columns of `schema`."""
    rows = table.num_rows
    columns = {"sae": _repeated(part.sae, pa.string(), rows), "view": _repeated(part.view, pa.string(), rows)}
    if "sae" in table.column_names:
        own = table.column("sae").to_pylist()
        layer = pa.array([_layer(layers, sae, part) for sae in own], pa.int32())
        columns |= {"sae": table.column("sae"), "layer": layer}
    else:
        columns["layer"] = _repeated(_layer(layers, part.sae, part), pa.int32(), rows)
    arrays = [columns[name] if name in columns else table.column(name) for name in schema.names]
    return pa.Table.from_arrays(arrays, schema=schema)


def _repeated(value: str | int | None, dtype: pa.DataType, rows: int) -> pa.Array:
    return pa.nulls(rows, dtype) if value is None else pa.repeat(pa.scalar(value, dtype), rows)


def _layer(layers: Mapping[str, int], sae: str | None, part: Part) -> int | None:
    if sae is not None and sae not in layers:
        raise FsrlError(f"dataset: {part.path}: no layer is known of SAE {sae!r}")
    return None if sae is None else layers[sae]


def _write_groups(writer: pq.ParquetWriter, tables: list[pa.Table], schema: pa.Schema) -> list[pa.Table]:
    """Write whole groups; what is left of the rows waits for more."""
    joined = pa.concat_tables(tables)
    whole = joined.num_rows - joined.num_rows % GROUP
    writer.write_table(joined.slice(0, whole), row_group_size=GROUP)
    return [joined.slice(whole)]


def _open(path: Path) -> pq.ParquetFile:
    core.column_names(path)  # says in one line what is wrong with it
    return pq.ParquetFile(path)


def _type(dtype: pa.DataType) -> str:
    return next(name for name, known in core.ARROW_TYPES.items() if known == dtype)
