"""What the thresholds decide -> LaTeX tables."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.latex import sensitivity as sensitivity_tables
from fsrl.latex import table as latex_table
from fsrl.tables import core as tables
from fsrl.tables.sensitivity import AGREEMENT, SENSITIVITY

given, source, output = snakemake.input, snakemake.params.source, snakemake.output
moved, agreed = tables.read(given.sensitivity[0], SENSITIVITY), tables.read(given.agreement[0], AGREEMENT)
latex_table.write(output[0], sensitivity_tables.sensitivity(moved), [source])
latex_table.write(output[1], sensitivity_tables.agreement(agreed), [source])
