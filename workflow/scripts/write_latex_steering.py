"""How well logit weights forecast steering -> a LaTeX table."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.latex import steering as steering_tables
from fsrl.latex import table as latex_table
from fsrl.tables import core as tables
from fsrl.tables.steering import FORECASTS

forecasts = tables.read(snakemake.input.forecasts, FORECASTS)
latex_table.write(snakemake.output[0], steering_tables.forecasts(forecasts), [snakemake.params.source])
