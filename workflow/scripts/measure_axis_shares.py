"""Share of every feature's logit-weight variance along its layer's activations' first axis, in all views."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from functools import partial
from itertools import product

from fsrl import devices
from fsrl.moments import axis_share
from fsrl.tables import core as tables
from fsrl.tables.moments import AXIS_SHARE
from fsrl.weights import covariances, provenance, transport
from fsrl.weights import matrices as weights

given, views = snakemake.input, snakemake.params.views
device = devices.pick(snakemake.params.device)
unembedding = weights.read_unembedding(given.unembedding, device)
measured = covariances.read(given.activations)
text = {f"activations_{key}": measured.metadata[key] for key in ("text_sha256", "context", "positions")}
moved = transport.read_of_views(views, given.transport, device)
axes = {hook: axis_share.first_axis(found.to(device)) for hook, found in measured.covariance.items()}
outputs = dict(zip(product(given.decoders, views), snakemake.output.shares, strict=True))
for name, settings in views.items():
    decoders = map(partial(weights.read_decoder, device=device), given.decoders)
    shares = axis_share.of_layers(decoders, unembedding, settings, moved.get(name), axes)
    for path, (decoder, share) in zip(given.decoders, shares, strict=True):
        of_view = {"view": settings, **devices.described(device)}
        metadata = provenance.metadata(unembedding, decoder, **of_view, **text)
        tables.write(axis_share.axis_share_frame(share), outputs[path, name], AXIS_SHARE, metadata)
