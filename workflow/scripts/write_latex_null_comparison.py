"""Nulls compared -> a LaTeX table."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.latex import sensitivity as sensitivity_tables
from fsrl.latex import table as latex_table
from fsrl.tables import core as tables
from fsrl.tables.planted import NULL_COMPARISON

text = sensitivity_tables.null_comparison(tables.read(snakemake.input.compared, NULL_COMPARISON))
latex_table.write(snakemake.output[0], text, [snakemake.params.source])
