"""Type labels of one layer in one view, under every scheme, and the counts that chance gives."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

import pandas as pd

from fsrl import feature_types, tables

views, schemes, output = snakemake.params.views, snakemake.params.schemes, snakemake.output
metadata = tables.read_metadata(snakemake.input.moments[0])
moments = [tables.read(path, tables.MOMENTS) for path in snakemake.input.moments]
nulls = [tables.read(path, tables.NULL) for path in snakemake.input.nulls]
labels, counts = [], []
for name, scheme in schemes.items():
    # The first view is the one being typed, which a scheme without a view of its own reads.
    at = views.index(scheme["view"]) if scheme["view"] else 0
    arguments = (moments[at], {name: scheme}, nulls[at])
    labels.append(feature_types.classify(*arguments, d_model=int(metadata["d_model"])))
    counts.append(feature_types.type_counts(*arguments, d_model=int(metadata["d_model"])))
metadata["schemes"] = json.dumps(schemes, sort_keys=True)
tables.write(pd.concat(labels, ignore_index=True), output.types, tables.TYPES, metadata)
tables.write(pd.concat(counts, ignore_index=True), output.type_counts, tables.TYPE_COUNTS, metadata)
