"""How well logit weights forecast steering, and how what follows reads -> LaTeX tables."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.latex import steering as steering_tables
from fsrl.latex import table as latex_table
from fsrl.tables import core as tables
from fsrl.tables.steering import FORECASTS, NEXT_TOKEN_SUMMARY

forecasts = tables.read(snakemake.input.forecasts, FORECASTS)
latex_table.write(snakemake.output[0], steering_tables.forecasts(forecasts), [snakemake.params.source])
read = tables.read(snakemake.input.next_token, NEXT_TOKEN_SUMMARY)
latex_table.write(snakemake.output[1], steering_tables.next_token(read), [snakemake.params.source])
