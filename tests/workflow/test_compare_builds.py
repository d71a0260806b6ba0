"""Two builds held against each other."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow.compare_builds import compare


def build(folder: Path, values: list[float], metadata: str, text: str, *extra: str) -> Path:
    (folder / "results/mini").mkdir(parents=True)
    table = pa.table({"std": np.array(values)}).replace_schema_metadata({"module": metadata})
    pq.write_table(table, folder / "results/mini/moments.parquet")
    for name in ("counts.tsv", *extra):
        (folder / "results/mini" / name).write_text(text)
    (folder / "results/mini/paper.pdf").write_text(folder.name)
    return folder


def test_tables_are_compared_by_their_values_and_other_files_by_their_bytes(tmp_path: Path) -> None:
    first = build(tmp_path / "first", [1.0, np.nan], "old", "3", "gone.tsv")
    moved = build(tmp_path / "moved", [1.0, np.nan], "new", "3", "new.tsv")
    other = build(tmp_path / "other", [1.0, 2.0], "old", "4", "gone.tsv")
    moments, counts = "results/mini/moments.parquet", "results/mini/counts.tsv"
    assert compare(first, moved) == {
        "gone": ["results/mini/gone.tsv"],
        "new": ["results/mini/new.tsv"],
        "same": [counts, moments],
        "different": [],
    }
    assert compare(first, other)["different"] == [counts, "results/mini/gone.tsv", moments]
