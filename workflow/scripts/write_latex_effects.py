"""Measured effects by layer and type, and agreement by hook -> LaTeX tables."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.latex import effects as effect_tables
from fsrl.latex import table as latex_table
from fsrl.tables import core as tables
from fsrl.tables.effects import BY_HOOK, SUMMARY

summary = tables.read(snakemake.input.effects, SUMMARY)
latex_table.write(snakemake.output[0], effect_tables.effects(summary), [snakemake.params.source])
latex_table.write(snakemake.output[1], effect_tables.effects_by_type(summary), [snakemake.params.source])
by_hook = tables.read(snakemake.input.by_hook, BY_HOOK)
latex_table.write(snakemake.output[2], effect_tables.agreement(by_hook), [snakemake.params.source])
