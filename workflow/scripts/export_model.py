"""A model's unembedding and the table of its tokens, for all studies of it."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from fsrl import devices
from fsrl.models import export, hub_record, reading, sources
from fsrl.tables import core as tables
from fsrl.tables.tokens import TOKENS
from fsrl.tokens import frame as token_frame
from fsrl.weights import matrices as weights

params, output = snakemake.params, snakemake.output
source = sources.ModelSource(**params.source)
for record in snakemake.input.fetched:
    hub_record.restore(source.hub_files(), record)
device = devices.pick(params.device)
model = reading.read_model(source, blocks=1)
unembedding = export.unembedding(model, counts_path=params.token_counts, device=device, **params.trained)
if params.trained["trained"]:
    weights.stored_unembedding(unembedding, tokens="trained")  # refused here, not by every job that reads it
unembedding = weights.identified_unembedding(unembedding)
weights.write_unembedding(unembedding, output.unembedding)
tables.write(token_frame.tokens_frame(unembedding), output.tokens, TOKENS, unembedding.metadata)
