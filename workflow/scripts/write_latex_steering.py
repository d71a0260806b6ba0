"""How well logit weights forecast steering, how what follows reads, by which path -> LaTeX tables."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.latex import steering as steering_tables
from fsrl.latex import table as latex_table
from fsrl.tables import core as tables
from fsrl.tables.steering import CONFIDENCE, FORECASTS, NEXT_TOKEN_SUMMARY, PATHS

given, params = snakemake.input, snakemake.params


def of_layers(name, table):
    return {sae: tables.read(path, table) for sae, path in zip(params.sae_ids, given[name], strict=True)}


made = (
    steering_tables.forecasts(tables.read(given.forecasts, FORECASTS)),
    steering_tables.next_token(tables.read(given.next_token, NEXT_TOKEN_SUMMARY)),
    steering_tables.paths(of_layers("paths", PATHS)),
    steering_tables.confidence(of_layers("confidence", CONFIDENCE)),
)
for path, table in zip(snakemake.output, made, strict=True):
    latex_table.write(path, table, [params.source])
