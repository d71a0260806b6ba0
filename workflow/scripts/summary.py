"""One row a layer: shares of features beyond the null, and type counts beside those that chance gives."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files, summary, tables

given, sae_ids = snakemake.input, snakemake.params.sae_ids
frame = summary.layer_summary(
    {sae: tables.read(path, tables.MOMENTS) for sae, path in zip(sae_ids, given.moments, strict=True)},
    {
        sae: tables.read(path, tables.TYPE_COUNTS)
        for sae, path in zip(sae_ids, given.type_counts, strict=True)
    },
    tables.read(given.null, tables.NULL),
    scheme=snakemake.params.scheme,
)
with files.whole(snakemake.output[0]) as path:
    frame.to_csv(path, sep="\t", index=False, float_format="%.6g")
