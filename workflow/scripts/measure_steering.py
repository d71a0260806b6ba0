"""How far the features of all of a study's SAEs steer its model, and what follows where they fire."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from collections.abc import Iterator

from fsrl import files
from fsrl.effects.sample import Sampling
from fsrl.models import hub_record, reading, sources
from fsrl.steering import measure
from fsrl.steering import study as steering_study
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS
from fsrl.tables.steering import NEXT_TOKEN, PATHS, STEERING
from fsrl.tables.types import TYPES
from fsrl.weights import matrices as weights
from fsrl.weights import provenance, transport

given, params = snakemake.input, snakemake.params
for record in given.fetched:
    hub_record.restore(sources.hub_files_of(params.source), record)


def layers() -> Iterator[steering_study.SteeringInputs]:
    """One after the other, so that one decoder is held at a time."""
    for i, path in enumerate(given.decoders):
        types = tables.read(given.types[i], TYPES)
        moments = tables.read(given.moments[i], MOMENTS)
        types = types[types["scheme"] == params.scheme]
        yield steering_study.SteeringInputs(weights.read_decoder(path), types, moments)


unembedding = weights.read_unembedding(given.unembedding)
said = {"view": params.view, "scheme": params.scheme, "steering": params.steering, "text": given.text}
hooks, made_from = [], []
for path in given.decoders:
    decoder = weights.read_decoder(path)
    hooks.append(decoder.hook)
    made_from.append(provenance.metadata(unembedding, decoder, **said))
token_ids = weights.view_unembedding(unembedding, **params.view)[1]
measured = steering_study.measure_study(
    reading.read_model(sources.ModelSource(**params.source["model"])),
    sources.SAESource.from_settings(params.source["saes"]),
    hooks,
    layers(),
    measure.Vocabulary(unembedding.folded, token_ids),
    transport.read(given.transport[0]) if given.transport else None,
    steering_study.Settings(
        measure.Steering.of(params.steering), Sampling(files.read_text(given.text), **params.settings)
    ),
)
for i, (found, run) in enumerate(measured):
    tables.write(found.steering, snakemake.output.steering[i], STEERING, made_from[i] | run)
    tables.write(found.next_token, snakemake.output.next_token[i], NEXT_TOKEN, made_from[i] | run)
    tables.write(found.paths, snakemake.output.paths[i], PATHS, made_from[i] | run)
