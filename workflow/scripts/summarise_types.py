"""One row a layer: shares of features beyond the nulls, and type counts beside those that chance gives."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.nulls import quantiles
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS, NULL_QUANTILES
from fsrl.tables.types import TYPE_COUNTS
from fsrl.types import summary

given, sae_ids = snakemake.input, snakemake.params.sae_ids
shared = quantiles.bounds(tables.read(given.quantiles, NULL_QUANTILES))
own = [quantiles.bounds(tables.read(path, NULL_QUANTILES)) for path in given.layer_quantiles]
layers = [
    summary.SummaryInputs(sae, tables.read(moments, MOMENTS), tables.read(counts, TYPE_COUNTS), shared | null)
    for sae, moments, counts, null in zip(
        sae_ids, given.moments, given.type_counts, own or [{}] * len(sae_ids), strict=True
    )
]
frame = summary.layer_summary(layers, scheme=snakemake.params.scheme)
with files.atomic_write(snakemake.output[0]) as path:
    frame.to_csv(path, sep="\t", index=False, float_format="%.6g")
