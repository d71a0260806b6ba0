"""Moments of one layer's own null directions in one view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.nulls import frames as nulls
from fsrl.stats import quantiles
from fsrl.tables import core as tables
from fsrl.tables.moments import NULL
from fsrl.weights import covariances, provenance
from fsrl.weights import matrices as weights

given, params = snakemake.input, snakemake.params
unembedding = weights.read_unembedding(given.unembedding)
decoder = weights.read_decoder(given.decoder)
view = weights.view(decoder, unembedding, **params.view)
settings = {"kinds": params.kinds, "draws": params.draws, "seed": params.seed}
text = {}
covariance = None
if given.activations:
    found = covariances.read(given.activations[0])
    covariance = found.covariance[decoder.hook]
    text = {f"activations_{key}": found.metadata[key] for key in ("text_sha256", "context", "positions")}
frame = nulls.of_layer(
    view.W_dec,
    view.W_U,
    kappa0=quantiles.quantile(tables.read(given.null, NULL), "kurtosis", 0.5),
    covariance=covariance,
    **settings,
)
metadata = provenance.metadata(unembedding, decoder, view=params.view, **settings, **text)
tables.write(frame, snakemake.output.null, NULL, metadata)
