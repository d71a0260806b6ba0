"""How well logit weights forecast which of a study's features steer."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.steering import forecast
from fsrl.tables import core as tables
from fsrl.tables.steering import FORECASTS, STEERING

given, params = snakemake.input, snakemake.params
layers = {sae: tables.read(path, STEERING) for sae, path in zip(params.sae_ids, given.steering, strict=True)}
metadata = tables.read_metadata(given.steering[0])
tables.write(forecast.summarise(layers, seed=params.seed), snakemake.output.forecasts, FORECASTS, metadata)
