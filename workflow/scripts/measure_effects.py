"""Measured effects of all of a study's SAEs on the logits, beside their logit weights."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import json
from collections.abc import Iterator

from fsrl import files
from fsrl.effects import study as effect_study
from fsrl.effects.sample import Sampling
from fsrl.models import hub_record, reading, sources
from fsrl.nulls import quantiles
from fsrl.nulls.joined import joined
from fsrl.tables import core as tables
from fsrl.tables.effects import AGREEMENT, EFFECTS, PEAKS
from fsrl.tables.moments import MOMENTS, NULL_QUANTILES
from fsrl.tables.types import TYPES
from fsrl.types.rules import parse_scheme
from fsrl.weights import matrices as weights
from fsrl.weights import provenance, transport

given, params = snakemake.input, snakemake.params
for record in given.fetched:
    hub_record.restore(sources.hub_files_of(params.source), record)


def layers() -> Iterator[effect_study.EffectInputs]:
    """One after the other, so that one decoder is held at a time."""
    for i, path in enumerate(given.decoders):
        types = tables.read(given.types[i], TYPES)
        of_nulls = (given.quantiles, *given.layer_quantiles[i : i + 1])
        shared, *own = (tables.read(one, NULL_QUANTILES) for one in of_nulls)
        yield effect_study.EffectInputs(
            weights.read_decoder(path),
            types[types["scheme"] == params.scheme],
            tables.read(given.moments[i], MOMENTS),
            quantiles.bounds(joined(shared, own)),
        )


unembedding = weights.read_unembedding(given.unembedding)
hooks, made_from = [], []
for path in given.decoders:
    decoder = weights.read_decoder(path)
    hooks.append(decoder.hook)
    made_from.append(provenance.metadata(unembedding, decoder, view=params.view))
W_U = [weights.view_unembedding(unembedding, **params.view)[0]]
# What is read is let go of where it is used up: decoders and W_U of GPT-2 are 2 GB together.
del decoder, unembedding
rules = params.schemes[params.scheme]
text = files.read_text(given.text)
measured = effect_study.measure_study(
    reading.read_model(sources.ModelSource(**params.source["model"])),
    sources.SAESource.from_settings(params.source["saes"]),
    hooks,
    layers(),
    W_U.pop(),
    effect_study.Settings(parse_scheme(params.scheme, rules), Sampling(text, **params.settings)),
    transport.read(given.transport[0]) if given.transport else None,
)
said = {"text": given.text, "scheme": json.dumps({params.scheme: rules}, sort_keys=True)}
output = snakemake.output
paths = zip(output.effects, output.agreement, output.peaks, strict=True)
for found, metadata, (effects, agreement, peaks) in zip(measured, made_from, paths, strict=True):
    metadata |= found.said | said
    tables.write(found.effects, effects, EFFECTS, metadata)
    tables.write(found.agreement, agreement, AGREEMENT, metadata)
    tables.write(found.peaks, peaks, PEAKS, metadata)
