"""The published claims about the types -> LaTeX tables."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.latex import claims as claim_tables
from fsrl.latex import table as latex_table
from fsrl.tables import core as tables
from fsrl.tables.claims import CLAIMS_SUMMARY

given, params, output = snakemake.input, snakemake.params, snakemake.output
summary = tables.read(given.summary[0], CLAIMS_SUMMARY)
latex_table.write(output[0], claim_tables.claims(summary, params.scheme), [params.source])
latex_table.write(output[1], claim_tables.claims_by_scheme(summary), [params.source])
