"""Moments, extreme tokens and histograms of layers' logit weights, in all views of their study."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import devices
from fsrl.moments import engine, products
from fsrl.moments import frames as moment_frames
from fsrl.nulls.typical import typical as typical_of
from fsrl.tables import core as tables
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS, NULL
from fsrl.weights import matrices as weights
from fsrl.weights import provenance, transport

given, params, output = snakemake.input, snakemake.params, snakemake.output
device = devices.pick(params.device)
settings = params.settings | {"precision": products.meant(params.settings["precision"], device)}
unembedding = weights.read_unembedding(given.unembedding, device)
typical = {
    view: typical_of(tables.read(path, NULL)) for view, path in zip(params.views, given.nulls, strict=True)
}
carried = [view for view in params.views if transport.is_carried(params.views[view])]
decoders = (weights.read_decoder(path, device) for path in given.decoders)
outputs = zip(output.moments, output.extremes, output.histograms, strict=True)
moved = transport.read_of_views(params.views, given.transport, device)
layer_nulls = iter(given.layer_nulls)
for decoder, found in engine.moments_of_decoders(decoders, unembedding, params.views, moved, **settings):
    made = {**settings, **devices.described(device)}
    # Where directions are carried each layer has isotropic ones of its own.
    typical |= {view: typical_of(tables.read(next(layer_nulls), NULL)) for view in carried}
    for view, (result, token_ids) in found.items():
        frames = (
            (moment_frames.moments_frame(result, decoder, typical[view]), MOMENTS),
            (moment_frames.extremes_frame(result, unembedding.tokens, token_ids), EXTREMES),
            (moment_frames.histogram_frame(result), HISTOGRAMS),
        )
        metadata = provenance.metadata(unembedding, decoder, view=params.views[view], **made)
        for path, (frame, table) in zip(next(outputs), frames, strict=True):
            tables.write(frame, path, table, metadata)
