"""Measured effects of a study by layer and type."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.effects import summary as effect_summary
from fsrl.tables import core as tables
from fsrl.tables.effects import EFFECTS, RETENTION, SUMMARY

given, params, output = snakemake.input, snakemake.params, snakemake.output
effects = {sae: tables.read(path, EFFECTS) for sae, path in zip(params.sae_ids, given.effects, strict=True)}
summary = effect_summary.summarise(effects, seed=params.seed)
metadata = tables.read_metadata(given.effects[0])
tables.write(summary, output.summary, SUMMARY, metadata)
tables.write(effect_summary.retention(effects), output.retention, RETENTION, metadata)
with files.atomic_write(output.tsv) as path:
    summary.to_csv(path, sep="\t", index=False, float_format="%.4g")
