"""A study's model and SAEs -> plain safetensors and the table of its tokens."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from fsrl import devices
from fsrl.models import dictionaries, export, hub_record, reading, sources
from fsrl.tables import core as tables
from fsrl.tables.tokens import TOKENS
from fsrl.tokens import frame as token_frame
from fsrl.weights import matrices as weights

params, output, study = snakemake.params, snakemake.output, snakemake.wildcards.study
for record in snakemake.input.fetched:
    hub_record.restore(sources.hub_files_of(params.source), record)
saes = sources.SAESource.from_settings(params.source["saes"])
model = reading.read_model(sources.ModelSource(**params.source["model"]))
device = devices.pick(params.device)
known = {"study": study, "counts_path": params.token_counts, "device": device}
unembedding = export.unembedding(model, **known, **params.trained)
if params.trained["trained"]:
    weights.stored_unembedding(unembedding, tokens="trained")  # refused here, not by every job that reads it
weights.write_unembedding(unembedding, output.unembedding)
tables.write(token_frame.tokens_frame(unembedding), output.tokens, TOKENS, unembedding.metadata)
for decoder, path in zip(dictionaries.decoders(saes, model, study=study), output.decoders, strict=True):
    weights.write_decoder(decoder, path)
