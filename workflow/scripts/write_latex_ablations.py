"""Ablations -> a LaTeX table."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.latex import ablations as ablation_tables
from fsrl.latex import table as latex_table
from fsrl.tables import core as tables
from fsrl.tables.sensitivity import ABLATIONS

text = ablation_tables.ablations(tables.read(snakemake.input.ablations, ABLATIONS))
latex_table.write(snakemake.output[0], text, [snakemake.params.source])
