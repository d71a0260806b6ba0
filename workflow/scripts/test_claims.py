"""The published claims about the types, tested in one view of a study."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

import pandas as pd

from fsrl import files
from fsrl.claims import claims, study, verdicts
from fsrl.enrichment import store
from fsrl.nulls.joined import joined
from fsrl.tables import core as tables
from fsrl.tables.claims import CLAIMS_SUMMARY, CLAIMS_TABLE, DIPS
from fsrl.tables.enrichment import BEST_SETS, DISCOVERIES
from fsrl.tables.moments import MOMENTS, NULL, NULL_QUANTILES
from fsrl.tables.types import TYPES
from fsrl.types.rules import parse_schemes
from fsrl.weights import matrices as weights
from fsrl.weights import transport

given, output, params = snakemake.input, snakemake.output, snakemake.params
settings, schemes, views = params.settings, parse_schemes(params.schemes), params.views
unembedding = weights.read_unembedding(given.unembedding)
moved = transport.read(given.transport[0]) if given.transport else None
members = store.read_token_sets(given.sets)
fresh = {view: tables.read(path, NULL) for view, path in zip(views, given.fresh, strict=True)}
quantiles = tables.read(given.quantiles, NULL_QUANTILES)
cut = float(tables.read(given.discoveries, DISCOVERIES)["log10_p_cut"].iloc[0])
dips, tested = [], []
for number, sae in enumerate(params.sae_ids):
    decoder = weights.read_decoder(given.decoders[number])
    seen = transport.view(decoder, unembedding, params.view, moved)
    paths = given.moments[number * len(views) : (number + 1) * len(views)]
    moments = {view: tables.read(path, MOMENTS) for view, path in zip(views, paths, strict=True)}
    own = [tables.read(path, NULL) for path in given.layer_fresh[number : number + 1]]
    here = {views[0]: joined(fresh[views[0]], own)}
    own = [tables.read(path, NULL_QUANTILES) for path in given.layer_quantiles[number : number + 1]]
    nulls = study.Nulls(fresh | here, joined(quantiles, own), params.null_seed)
    sets, statistics = store.statistic(given.enrichment[number], "t", "log10_p", "eta2")
    found = study.layer(
        sae,
        seen,
        moments,
        tables.read(given.types[number], TYPES),
        tables.read(given.best_sets[number], BEST_SETS),
        (members[sets], *statistics),
        nulls,
        schemes,
        cut=cut,
        settings=settings,
    )
    dips.append(found.dips)
    bootstrap = {"draws": params.bootstrap, "seed": settings["seed"]}
    few = {"min_features": settings["min_features"]}
    tested.append(claims.compare_layer(found.inputs, schemes, found.nulls, **few, **bootstrap))
metadata = tables.read_metadata(given.discoveries)
metadata |= {
    "claims": json.dumps(settings, sort_keys=True),
    "schemes": json.dumps(params.schemes, sort_keys=True),
}
judged = verdicts.judge(tested, level=settings["level"])
tables.write(judged, output.claims, CLAIMS_TABLE, metadata)
tables.write(verdicts.summary(judged), output.summary, CLAIMS_SUMMARY, metadata)
tables.write(pd.concat(dips, ignore_index=True), output.dips, DIPS, metadata)
with files.atomic_write(output.verdicts) as path:
    verdicts.verdicts(judged).to_csv(path, sep="\t", index=False)
