"""The published claims about the types, tested in one view of a study."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

import pandas as pd

from fsrl import files
from fsrl.claims import claims, verdicts
from fsrl.claims import dips as claims_dips
from fsrl.enrichment import store
from fsrl.tables import core as tables
from fsrl.tables.claims import CLAIMS_TABLE, DIPS
from fsrl.tables.enrichment import BEST_SETS, DISCOVERIES
from fsrl.tables.moments import MOMENTS
from fsrl.tables.types import TYPES
from fsrl.types.rules import parse_schemes
from fsrl.weights import matrices as weights
from fsrl.weights import transport

given, output, params = snakemake.input, snakemake.output, snakemake.params
settings, schemes = params.settings, parse_schemes(params.schemes)
unembedding = weights.read_unembedding(given.unembedding)
moved = transport.read(given.transport[0]) if given.transport else None
discoveries = tables.read(given.discoveries, DISCOVERIES)
dips, tested = [], []
for number, sae in enumerate(params.sae_ids):
    decoder = weights.read_decoder(given.decoders[number])
    view = transport.view(decoder, unembedding, params.view, moved)
    moments = tables.read(given.moments[number], MOMENTS)
    types = tables.read(given.types[number], TYPES)
    chosen = claims_dips.sample(types, moments, count=settings["dip_features"], seed=settings["seed"])
    measured = claims_dips.measure(
        view.W_dec, view.W_U, chosen, sae=sae, draws=settings["dip_draws"], seed=settings["seed"]
    )
    best = tables.read(given.best_sets[number], BEST_SETS)
    sets, (t, log10_p, eta2) = store.statistic(given.enrichment[number], "t", "log10_p", "eta2")
    cut = float(discoveries["log10_p_cut"].iloc[0])
    layer = claims.layer(sae, moments, types, best, measured, enrichment=(sets, t, log10_p, eta2), cut=cut)
    dips.append(measured)
    tested.append(
        claims.compare_layer(
            layer,
            schemes,
            min_features=settings["min_features"],
            draws=params.bootstrap,
            seed=settings["seed"],
        )
    )
metadata = tables.read_metadata(given.discoveries)
metadata |= {
    "claims": json.dumps(settings, sort_keys=True),
    "schemes": json.dumps(params.schemes, sort_keys=True),
}
found = verdicts.judge(tested, level=settings["level"])
tables.write(found, output.claims, CLAIMS_TABLE, metadata)
tables.write(pd.concat(dips, ignore_index=True), output.dips, DIPS, metadata)
with files.atomic_write(output.verdicts) as path:
    verdicts.verdicts(found).to_csv(path, sep="\t", index=False)
