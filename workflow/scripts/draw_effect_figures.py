"""The figures of a study's measured effects."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.figures import effects as effect_figures
from fsrl.figures import files as figure_files
from fsrl.tables import core as tables
from fsrl.tables.effects import BY_HOOK, EFFECTS, RETENTION, SUMMARY

given, params = snakemake.input, snakemake.params
effects = {sae: tables.read(path, EFFECTS) for sae, path in zip(params.sae_ids, given.effects, strict=True)}
title = f"{params.title} · scheme {params.scheme}"
figures = {
    "agreement": effect_figures.agreement(tables.read(given.by_hook, BY_HOOK), title=title),
    "agreement_by_type": effect_figures.agreement_by_type(tables.read(given.summary, SUMMARY), title=title),
    "moments": effect_figures.moments(effects, title=title),
    "retention": effect_figures.retention(tables.read(given.retention, RETENTION), title=title),
}
for path in snakemake.output:
    figure_files.save(figures[Path(path).stem], path)
