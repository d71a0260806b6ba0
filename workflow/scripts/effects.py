"""Measured effects of all of a study's SAEs on the logits, beside their logit weights."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import json
from pathlib import Path

import pandas as pd

from fsrl import effect_study, effect_tables, hub, provenance, sources, tables, weights

given, params = snakemake.input, snakemake.params
unembedding = weights.read_unembedding(given.unembedding)
W_U, _ = weights.view_unembedding(unembedding, **params.view)
layers = []
for i, decoder in enumerate(given.decoders):
    types = tables.read(given.types[i], tables.TYPES)
    density = tables.read(given.moments[i], tables.MOMENTS).set_index("feature")["log10_density"]
    nulls = [tables.read(path, tables.NULL) for path in (given.null, *given.layer_nulls[i : i + 1])]
    layers.append(
        effect_study.Layer(
            weights.read_decoder(decoder),
            types[types["scheme"] == params.scheme],
            density,
            pd.concat(nulls, ignore_index=True),
        )
    )
scheme = {params.scheme: params.schemes[params.scheme]}
text = Path(given.text).read_text(encoding="utf-8")
settings = effect_study.Settings(scheme, text, **params.settings)
model = hub.read_model(sources.ModelSource(**params.source["model"]))
saes = sources.SAESource.from_settings(params.source["saes"])
measured = effect_study.measure_study(model, saes, layers, W_U, settings)
for layer, (frame, said), path in zip(layers, measured, snakemake.output, strict=True):
    said |= {"text": given.text, "scheme": json.dumps(scheme, sort_keys=True)}
    metadata = provenance.of(unembedding, layer.decoder, view=params.view, **said)
    tables.write(frame, path, effect_tables.EFFECTS, metadata)
