"""How well logit weights forecast which of a study's features steer, and how what follows reads under
them."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.steering import forecast, gains
from fsrl.tables import core as tables
from fsrl.tables.steering import FORECASTS, NEXT_TOKEN, NEXT_TOKEN_SUMMARY, STEERING

given, params, output = snakemake.input, snakemake.params, snakemake.output
metadata = tables.read_metadata(given.steering[0])
layers = {sae: tables.read(path, STEERING) for sae, path in zip(params.sae_ids, given.steering, strict=True)}
tables.write(forecast.summarise(layers, seed=params.seed), output.forecasts, FORECASTS, metadata)
read = {
    sae: tables.read(path, NEXT_TOKEN) for sae, path in zip(params.sae_ids, given.next_token, strict=True)
}
tables.write(gains.summarise(read, seed=params.seed), output.next_token, NEXT_TOKEN_SUMMARY, metadata)
