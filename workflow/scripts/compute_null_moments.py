"""Moments of random directions under all of a study's views of W_U."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from fsrl import devices
from fsrl.nulls import frames as nulls
from fsrl.tables import core as tables
from fsrl.tables.moments import NULL
from fsrl.weights import matrices as weights
from fsrl.weights import provenance

params = snakemake.params
device = devices.pick(params.device)
unembedding = weights.read_unembedding(snakemake.input.unembedding, device)
settings = {"draws": params.draws, "seed": params.seed}
found = nulls.isotropic_of_views(unembedding, params.views, **settings)
for path, (view, frame) in zip(snakemake.output.nulls, found.items(), strict=True):
    made = {**settings, **devices.described(device)}
    tables.write(frame, path, NULL, provenance.metadata(unembedding, view=params.views[view], **made))
