"""Moments of random directions under one view of W_U."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import nulls, provenance, tables, weights

params = snakemake.params
unembedding = weights.read_unembedding(snakemake.input.unembedding)
W_U, _ = weights.view_unembedding(unembedding, **params.view)
frame = nulls.isotropic(W_U, draws=params.draws, seed=params.seed)
metadata = provenance.of(unembedding, view=params.view, draws=params.draws, seed=params.seed)
tables.write(frame, snakemake.output.null, tables.NULL, metadata)
