"""Moments of random directions in all of a study's views: those that bound the types, and fresh ones."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from fsrl import devices
from fsrl.nulls import frames as nulls
from fsrl.nulls.quantiles import quantile_frame
from fsrl.nulls.typical import typical as typical_of
from fsrl.tables import core as tables
from fsrl.tables.moments import NULL, NULL_QUANTILES
from fsrl.weights import matrices as weights
from fsrl.weights import provenance, transport

params, made = snakemake.params, snakemake.output
device = devices.pick(params.device)
unembedding = weights.read_unembedding(snakemake.input.unembedding, device)
settings = {"draws": params.draws, "seed": params.seed}
fresh_settings = {"draws": params.fresh_draws, "seed": nulls.fresh_seed(params.seed)}
# Where a view carries directions to the end of the stream these are isotropic there; layers have their own.
views = {view: transport.others(params.views[view]) for view in params.views}
found = nulls.isotropic_of_views(unembedding, views, **settings)
typical = {view: typical_of(frame) for view, frame in found.items()}
fresh = nulls.isotropic_of_views(unembedding, views, typical=typical, **fresh_settings)
for number, (view, frame) in enumerate(found.items()):
    machine = devices.described(device)
    metadata = provenance.metadata(unembedding, view=params.views[view], **settings, **machine)
    tables.write(frame, made.nulls[number], NULL, metadata)
    tables.write(quantile_frame(frame), made.quantiles[number], NULL_QUANTILES, metadata)
    metadata = provenance.metadata(unembedding, view=params.views[view], **fresh_settings, **machine)
    tables.write(fresh[view], made.fresh[number], NULL, metadata)
