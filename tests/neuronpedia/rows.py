"""Rows as Neuronpedia's exports hold them, and their batches: indices are text, and in the order of text."""

from collections.abc import Iterable, Sequence
from typing import Any

from tests.neuronpedia.servers import Bucket

MODEL, SOURCE = "gpt2-small", "7-res-jb"
Row = dict[str, Any]


def explanation(index: int, description: str = "", *, row_id: str = "", **more: Any) -> Row:
    row = {
        "id": row_id or f"id-{index}",
        "modelId": MODEL,
        "layer": SOURCE,
        "index": str(index),
        "authorId": "author",
        "description": description or f"words about {index}",
        "embedding": None,
        "typeName": "oai_token-act-pair",
        "explanationModelName": None,
        "umap_x": 0.0,
    }
    return {**row, **more}


def feature(index: int, **more: Any) -> Row:
    row = {
        "modelId": MODEL,
        "layer": SOURCE,
        "index": str(index),
        "maxActApprox": 12.5,
        "frac_nonzero": 0.001,
        "pos_str": [" token"],
        "pos_values": [1.25],
        "neg_str": ["<script>alert(1)</script>"],
        "neg_values": [-1.5],
        "logits_hist_data_bar_heights": [1.0],
        "logits_hist_data_bar_values": [0.5],
    }
    return {**row, **more}


def batches(rows: Iterable[Row], size: int = 1024) -> list[list[Row]]:
    """In the order of the export: by index as text, `size` rows a batch."""
    ordered = sorted(rows, key=lambda row: row["index"])
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def fill(bucket: Bucket, kind: str, rows: Iterable[Row], size: int = 1024) -> list[str]:
    """Store an export's batches; returns their keys."""
    parts: Sequence[list[Row]] = batches(rows, size)
    return [
        bucket.put(MODEL, SOURCE, f"{kind}/batch-{number}.jsonl.gz", part)
        for number, part in enumerate(parts)
    ]
