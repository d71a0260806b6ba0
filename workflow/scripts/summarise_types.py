"""One row a layer: shares of features beyond the nulls, and type counts beside those that chance gives."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import pandas as pd

from fsrl import files
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.types import TYPE_COUNTS
from fsrl.types import summary

given, sae_ids = snakemake.input, snakemake.params.sae_ids
shared = tables.read(given.null, NULL)
own = [tables.read(path, NULL) for path in given.layer_nulls] or [shared.iloc[:0]] * len(sae_ids)
layers = [
    summary.SummaryInputs(
        sae,
        tables.read(moments, MOMENTS),
        tables.read(counts, TYPE_COUNTS),
        pd.concat([shared, null], ignore_index=True),
    )
    for sae, moments, counts, null in zip(sae_ids, given.moments, given.type_counts, own, strict=True)
]
frame = summary.layer_summary(layers, scheme=snakemake.params.scheme)
with files.atomic_write(snakemake.output[0]) as path:
    frame.to_csv(path, sep="\t", index=False, float_format="%.6g")
