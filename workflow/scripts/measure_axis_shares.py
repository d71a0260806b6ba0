"""Share of every feature's logit-weight variance along its layer's activations' first axis, in all views."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.moments import axis_share
from fsrl.tables import core as tables
from fsrl.tables.moments import AXIS_SHARE
from fsrl.weights import covariances, provenance, transport
from fsrl.weights import matrices as weights

given, views = snakemake.input, snakemake.params.views
unembedding = weights.read_unembedding(given.unembedding)
measured = covariances.read(given.activations)
text = {f"activations_{key}": measured.metadata[key] for key in ("text_sha256", "context", "positions")}
moved = transport.read_of_views(views, given.transport)
outputs = iter(snakemake.output.shares)
for path in given.decoders:
    decoder = weights.read_decoder(path)
    axis = axis_share.first_axis(measured.covariance[decoder.hook])
    for name, settings in views.items():
        view = transport.view(decoder, unembedding, settings, moved.get(name))
        frame = axis_share.axis_share_frame(axis_share.axis_share(view.W_dec, view.W_U, axis))
        metadata = provenance.metadata(unembedding, decoder, view=settings, **text)
        tables.write(frame, next(outputs), AXIS_SHARE, metadata)
