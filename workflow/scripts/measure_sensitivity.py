"""How a study's types depend on thresholds, schemes, tokens and layers, in one view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

import pandas as pd

from fsrl.claims import sensitivity
from fsrl.claims import stability as sensitivity_layers
from fsrl.nulls.joined import joined
from fsrl.tables import core as tables
from fsrl.tables import sensitivity as sensitivity_tables
from fsrl.tables.enrichment import BEST_SETS
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.types import TYPE_COUNTS, TYPES
from fsrl.types.rules import parse_schemes

given, output, params = snakemake.input, snakemake.output, snakemake.params
view, views, sae_ids = snakemake.wildcards.view, params.views, params.sae_ids
shared, fresh = (
    {name: tables.read(path, NULL) for name, path in zip(views, paths, strict=True)}
    for paths in (given.nulls, given.fresh)
)
schemes = parse_schemes(params.schemes)
sweeps, agreements = [], []
for number, sae in enumerate(sae_ids):
    best = tables.read(given.best_sets[number], BEST_SETS)
    significant = ((best["n_promoted"] + best["n_suppressed"]) > 0).to_numpy()
    metadata = tables.read_metadata(given.moments[number * len(views)])
    for place, name in enumerate(views):
        at = number * len(views) + place
        read_here = [scheme for scheme in schemes if (scheme.view or view) == name]
        if not read_here:
            continue
        own = [
            tables.read(given[which][at], NULL) for which in ("layer_nulls", "layer_fresh") if given[which]
        ]
        layer = sensitivity.SweepInputs(
            sae,
            tables.read(given.moments[at], MOMENTS),
            joined(shared[name], own[:1]),
            joined(fresh[name], own[1:]),
            significant,
            int(metadata["d_model"]),
        )
        sweeps.append(sensitivity.sweep(layer, read_here, **params.factors))
    everywhere = [
        tables.read(path, TYPES)
        for path in given.types[number * len(params.every_view) : (number + 1) * len(params.every_view)]
    ]
    by_view = dict(zip(params.every_view, everywhere, strict=True))
    here = by_view.pop(view)
    agreements.append(sensitivity.agreement(sae, here, by_view, view, schemes))
counts = [tables.read(path, TYPE_COUNTS) for path in given.type_counts]
made = {
    "sensitivity": pd.concat(sweeps, ignore_index=True),
    "agreement": pd.concat(agreements, ignore_index=True),
    "stability": sensitivity_layers.stability(counts),
}
metadata["schemes"] = json.dumps(params.schemes, sort_keys=True)
for name, frame in made.items():
    tables.write(frame, output[name], getattr(sensitivity_tables, name.upper()), metadata)
