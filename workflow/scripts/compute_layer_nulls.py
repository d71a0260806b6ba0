"""Moments of layers' own null directions, in all views of their study."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import devices
from fsrl.nulls import frames as nulls
from fsrl.nulls.typical import typical as typical_of
from fsrl.tables import core as tables
from fsrl.tables.moments import NULL
from fsrl.weights import covariances, provenance
from fsrl.weights import matrices as weights

given, params = snakemake.input, snakemake.params
device = devices.pick(params.device)
unembedding = weights.read_unembedding(given.unembedding, device)
settings = {"kinds": params.kinds, "draws": params.draws, "seed": params.seed}
typical = {
    view: typical_of(tables.read(path, NULL)) for view, path in zip(params.views, given.nulls, strict=True)
}
measured = covariances.read(given.activations[0]) if given.activations else None
outputs = iter(snakemake.output.nulls)
for path in given.decoders:
    decoder = weights.read_decoder(path, device)
    text, covariance = {}, None
    if measured is not None:
        covariance = measured.covariance[decoder.hook]
        known = ("text_sha256", "context", "positions")
        text = {f"activations_{key}": measured.metadata[key] for key in known}
    found = nulls.of_layer_in_views(
        decoder, unembedding, params.views, typical=typical, covariance=covariance, **settings
    )
    made = {**settings, **text, **devices.described(device)}
    for view, frame in found.items():
        metadata = provenance.metadata(unembedding, decoder, view=params.views[view], **made)
        tables.write(frame, next(outputs), NULL, metadata)
