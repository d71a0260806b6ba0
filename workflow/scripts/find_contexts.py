"""The contexts of a text in which features are most active, for all of a study's SAEs."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from fsrl import files
from fsrl.effects import contexts
from fsrl.models import hub_record, reading, sources
from fsrl.tables import core as tables
from fsrl.tables.directions import CONTEXTS
from fsrl.weights import matrices as weights

given, params = snakemake.input, snakemake.params
for record in given.fetched:
    hub_record.restore(sources.hub_files_of(params.source), record)
decoders = [weights.read_decoder(path) for path in given.decoders]
found = contexts.of_study(
    reading.read_model(sources.ModelSource(**params.source["model"])),
    sources.SAESource.from_settings(params.source["saes"]),
    [(one.sae, one.hook, len(one.W_dec)) for one in decoders],
    files.read_text(given.text),
    device=params.device,
    **params.settings,
)
for decoder, (frame, said), path in zip(decoders, found, snakemake.output, strict=True):
    metadata = {**decoder.metadata, "sae": decoder.sae, "hook": decoder.hook, **said, "text": given.text}
    tables.write(frame, path, CONTEXTS, metadata)
