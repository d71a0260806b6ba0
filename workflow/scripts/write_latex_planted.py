"""Recovery of planted types -> a LaTeX table."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.latex import sensitivity as sensitivity_tables
from fsrl.latex import table as latex_table
from fsrl.tables import core as tables
from fsrl.tables.planted import RECOVERY

recovery = tables.read(snakemake.input.planted, RECOVERY)
text = sensitivity_tables.planted(recovery, snakemake.params.scheme)
latex_table.write(snakemake.output[0], text, [snakemake.params.source])
