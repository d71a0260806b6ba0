"""How a study's types depend on thresholds, schemes, tokens and layers, in one view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json
from itertools import pairwise

import pandas as pd

from fsrl.claims import sensitivity
from fsrl.claims import stability as sensitivity_layers
from fsrl.tables import core as tables
from fsrl.tables import sensitivity as sensitivity_tables
from fsrl.tables.enrichment import BEST_SETS
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.types import TYPE_COUNTS, TYPES
from fsrl.weights import matrices as weights

given, output, params = snakemake.input, snakemake.output, snakemake.params
view, views, sae_ids = snakemake.wildcards.view, params.views, params.sae_ids
shared = {name: tables.read(path, NULL) for name, path in zip(views, given.nulls, strict=True)}
read_in = {scheme: settings["view"] or view for scheme, settings in params.schemes.items()}
sweeps, agreements, types = [], [], []
for number, sae in enumerate(sae_ids):
    best = tables.read(given.best_sets[number], BEST_SETS)
    significant = ((best["n_promoted"] + best["n_suppressed"]) > 0).to_numpy()
    metadata = tables.read_metadata(given.moments[number * len(views)])
    for place, name in enumerate(views):
        at = number * len(views) + place
        own = [tables.read(given.layer_nulls[at], NULL)] if given.layer_nulls else []
        layer = sensitivity.Layer(
            sae,
            tables.read(given.moments[at], MOMENTS),
            pd.concat([shared[name], *own], ignore_index=True),
            significant,
            int(metadata["d_model"]),
        )
        schemes = {scheme: params.schemes[scheme] for scheme, where in read_in.items() if where == name}
        if schemes:
            sweeps.append(sensitivity.sweep(layer, schemes, **params.factors))
    everywhere = [
        tables.read(path, TYPES)
        for path in given.types[number * len(params.every_view) : (number + 1) * len(params.every_view)]
    ]
    by_view = dict(zip(params.every_view, everywhere, strict=True))
    types.append(by_view.pop(view))
    agreements.append(sensitivity.agreement(sae, types[-1], by_view, view, params.schemes))
decoders = [weights.read_decoder(path).W_dec for path in given.decoders]
persistent = [
    sensitivity_layers.persistence(
        (sae_ids[a], sae_ids[b]), (decoders[a], decoders[b]), (types[a], types[b]), cosine=params.cosine
    )
    for a, b in pairwise(range(len(sae_ids)))
]
counts = [tables.read(path, TYPE_COUNTS) for path in given.type_counts]
made = {
    "sensitivity": pd.concat(sweeps, ignore_index=True),
    "agreement": pd.concat(agreements, ignore_index=True),
    "stability": sensitivity_layers.stability(counts),
    "persistence": sensitivity_layers.of_pairs(persistent),
}
metadata["schemes"] = json.dumps(params.schemes, sort_keys=True)
for name, frame in made.items():
    tables.write(frame, output[name], getattr(sensitivity_tables, name.upper()), metadata)
