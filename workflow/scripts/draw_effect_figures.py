"""Measured effects of a study by layer and type: summary tables and figures."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl import files
from fsrl.effects import summary as effect_summary
from fsrl.figures import effects as effect_plots
from fsrl.figures import files as figure_files
from fsrl.tables import core as tables
from fsrl.tables.effects import EFFECTS, RETENTION, SUMMARY

given, params, output = snakemake.input, snakemake.params, snakemake.output
effects = {sae: tables.read(path, EFFECTS) for sae, path in zip(params.sae_ids, given.effects, strict=True)}
summary = effect_summary.summarise(effects, seed=params.seed)
retention = effect_summary.retention(effects)
metadata = tables.read_metadata(given.effects[0])
tables.write(summary, output.summary, SUMMARY, metadata)
tables.write(retention, output.retention, RETENTION, metadata)
with files.whole(output.tsv) as path:
    summary.to_csv(path, sep="\t", index=False, float_format="%.4g")
title = f"{params.title} · scheme {params.scheme}"
figures = {
    "agreement": effect_plots.agreement(summary, title=title),
    "moments": effect_plots.moments(effects, title=title),
    "retention": effect_plots.retention(retention, title=title),
}
for path in snakemake.output:
    if Path(path).suffix in figure_files.METADATA:
        figure_files.save(figures[Path(path).stem], path)
