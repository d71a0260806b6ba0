"""Moments of layers' own null directions, in all views: those that bound the types, and fresh ones."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import pandas as pd

from fsrl import devices
from fsrl.names import BOUNDING
from fsrl.nulls import carried
from fsrl.nulls import frames as nulls
from fsrl.nulls.quantiles import quantile_frame
from fsrl.nulls.typical import typical as typical_of
from fsrl.tables import core as tables
from fsrl.tables.moments import NULL, NULL_QUANTILES
from fsrl.weights import matrices as weights
from fsrl.weights import provenance, transport

given, params, made = snakemake.input, snakemake.params, snakemake.output
device = devices.pick(params.device)
unembedding = weights.read_unembedding(given.unembedding, device)
settings = {"kinds": params.kinds, "draws": params.draws, "seed": params.seed}
# Of the other kinds no draw bounds a type: all are fresh.
again = [kind for kind in params.kinds if kind in BOUNDING]
fresh_settings = {"kinds": again, "draws": params.fresh_draws, "seed": nulls.fresh_seed(params.seed)}
typical = {
    view: typical_of(tables.read(path, NULL)) for view, path in zip(params.views, given.nulls, strict=True)
}
moved = transport.read_of_views(params.views, given.transport, device)
of_layer = [view for view in params.views if transport.is_carried(params.views[view])]
for view in of_layer:  # there each layer has isotropic directions of its own
    del typical[view]
outputs = zip(made.nulls, made.quantiles, made.fresh, strict=True)
for path in given.decoders:
    decoder = weights.read_decoder(path, device)
    read = (decoder, unembedding, params.views, moved)
    found = carried.of_layer_in_views(*read, typical=typical, **settings)
    known = typical | {view: typical_of(found[view]) for view in of_layer}
    fresh = carried.of_layer_in_views(*read, typical=known, **fresh_settings)
    for view, frame in found.items():
        null, quantiles, fresh_null = next(outputs)
        of_view = {"view": params.views[view], **devices.described(device)}
        metadata = provenance.metadata(unembedding, decoder, **of_view, **settings)
        tables.write(frame, null, NULL, metadata)
        tables.write(quantile_frame(frame), quantiles, NULL_QUANTILES, metadata)
        free = frame[~frame["kind"].isin(BOUNDING)]
        parts = pd.concat([fresh[view], free] if view in fresh else [free], ignore_index=True)
        metadata = provenance.metadata(unembedding, decoder, **of_view, **fresh_settings)
        tables.write(parts, fresh_null, NULL, metadata)
