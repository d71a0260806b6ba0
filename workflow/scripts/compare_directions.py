"""The nearest directions of every feature, and how the logit weights of null ones are spread."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from fsrl import devices
from fsrl.browser import beside
from fsrl.tables import core as tables
from fsrl.tables.directions import NEIGHBOURS, NULL_SHAPES
from fsrl.weights import matrices as weights
from fsrl.weights import provenance, transport

given, params, made = snakemake.input, snakemake.params, snakemake.output
device = devices.pick(params.device)
unembedding = weights.read_unembedding(given.unembedding)
decoders = [weights.read_decoder(path) for path in given.decoders]
moved = transport.read(given.transport[0]) if given.transport else None
described = {"seed": params.seed, "draws": beside.DRAWS, **devices.described(device)}
near = beside.neighbours([one.W_dec for one in decoders], [one.sae for one in decoders], device=device)
for decoder, frame, path, shape in zip(decoders, near, made.neighbours, made.shapes, strict=True):
    view = transport.view(decoder, unembedding, params.view, moved)
    shapes = beside.null_shapes(view, n_bins=params.n_bins, seed=params.seed, device=device)
    metadata = provenance.metadata(unembedding, decoder, view=params.view, **described)
    tables.write(frame, path, NEIGHBOURS, metadata)
    tables.write(shapes, shape, NULL_SHAPES, metadata)
