"""Named sets of a model's tokens."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.tables import core as tables
from fsrl.tables.enrichment import token_sets_table
from fsrl.tokens import frame as token_frame
from fsrl.tokens import sets as token_sets
from fsrl.weights import matrices as weights
from fsrl.weights import provenance

unembedding = weights.read_unembedding(snakemake.input.unembedding)
extra = snakemake.params.extra
counts = None if unembedding.counts is None else unembedding.counts.numpy()
special = None if unembedding.special is None else unembedding.special.numpy()
sets = token_sets.token_sets(unembedding.tokens, counts=counts, special=special, extra=extra)
described = token_sets.describe(sets, extra)
table = token_sets_table(dict(zip(described["set"], described["definition"], strict=True)))
metadata = provenance.metadata(unembedding, study=snakemake.wildcards.study, extra=extra)
tables.write(token_frame.token_sets_frame(sets), snakemake.output.sets, table, metadata)
with files.atomic_write(snakemake.output.list) as path:
    described.to_csv(path, sep="\t", index=False)
