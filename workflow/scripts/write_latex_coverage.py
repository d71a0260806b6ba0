"""Which types the features of each token set have -> a LaTeX table."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.latex import coverage
from fsrl.latex import table as latex_table
from fsrl.tables import core as tables
from fsrl.tables.enrichment import SET_COVERAGE

covered = tables.read(snakemake.input.set_coverage[0], SET_COVERAGE)
latex_table.write(snakemake.output[0], coverage.set_coverage(covered), [snakemake.params.source])
