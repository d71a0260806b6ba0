"""Type labels of one layer in one view, under every scheme, and the counts that chance gives."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

import pandas as pd

from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.types import THRESHOLDS, TYPE_COUNTS, TYPE_NULL_COUNTS, TYPES
from fsrl.types import classify
from fsrl.types.cuts import resolve
from fsrl.types.rules import parse_schemes

given, views, schemes = snakemake.input, snakemake.params.views, snakemake.params.schemes
metadata = tables.read_metadata(given.moments[0])
metadata["schemes"] = json.dumps(schemes, sort_keys=True)
made = {
    "types": (classify.types, TYPES),
    "type_counts": (classify.type_counts, TYPE_COUNTS),
    "type_null_counts": (classify.type_null_counts, TYPE_NULL_COUNTS),
    "thresholds": (classify.thresholds, THRESHOLDS),
}
moments = [tables.read(path, MOMENTS) for path in given.moments]
nulls = [
    pd.concat([tables.read(path, NULL) for path in paths if path], ignore_index=True)
    for paths in zip(given.nulls, given.layer_nulls or [None] * len(views), strict=True)
]
resolved = []
for scheme in parse_schemes(schemes):
    # The first view is the one being typed, which a scheme without a view of its own reads.
    at = views.index(scheme.view) if scheme.view else 0
    resolved.append(resolve(scheme, moments[at], nulls[at], d_model=int(metadata["d_model"])))
for name, (make, table) in made.items():
    frame = pd.concat([make(one) for one in resolved], ignore_index=True)
    tables.write(frame, snakemake.output[name], table, metadata)
