"""Enrichment of a study in one view: what is significant, each feature's best sets, each type's sets."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import json

import pandas as pd

from fsrl import devices
from fsrl.enrichment import best_sets, coverage, store
from fsrl.enrichment import study as enrichment_study
from fsrl.tables import core as tables
from fsrl.tables.enrichment import (
    BEST_SETS,
    DISCOVERIES,
    NULL_DISCOVERIES,
    ODDS_RATIOS,
    SCORES,
    SET_COVERAGE,
    SPLITS,
)
from fsrl.tables.types import CLUSTERS, TYPES
from fsrl.weights import matrices as weights
from fsrl.weights import transport

given, output, params = snakemake.input, snakemake.output, snakemake.params
device = devices.pick(params.device)
unembedding, members = weights.read_unembedding(given.unembedding, device), store.read_token_sets(given.sets)
moved = transport.read(given.transport[0], device) if given.transport else None
p, stratified = (
    [store.statistic(path, column)[1][0] for path in given.enrichment]
    for column in ("log10_p", "log10_p_stratified")
)
study, within = (best_sets.of_study(part, level=params.settings["level"]) for part in (p, stratified))
null = tables.read(given.null_discoveries, NULL_DISCOVERIES)
rows, covered = [], []
for number, sae in enumerate(params.sae_ids):
    sets, (t, eta2) = store.statistic(given.enrichment[number], "t", "eta2")
    tests = enrichment_study.LayerTests(
        sae, sets, t, eta2, p[number], study.log10_q[number], stratified[number]
    )
    decoder = weights.read_decoder(given.decoders[number], device)
    view = transport.view(decoder, unembedding, params.view, moved)
    types = tables.read(given.types[number], TYPES)
    clusters = tables.read(given.clusters[number], CLUSTERS)["cluster"].to_numpy()
    read = (members, types, clusters, unembedding.tokens)
    chosen = {"scheme": params.scheme, "settings": params.settings}
    made = enrichment_study.layer_tables(tests, study.cut, view, *read, **chosen)
    metadata = tables.read_metadata(given.enrichment[number])
    metadata |= {"settings": json.dumps(params.settings, sort_keys=True), "scheme": params.scheme}
    metadata |= devices.described(device)
    tables.write(made.best_sets, output.best_sets[number], BEST_SETS, metadata)
    tables.write(made.odds_ratios, output.odds_ratios[number], ODDS_RATIOS, metadata)
    tables.write(made.scores, output.scores[number], SCORES, metadata)
    tables.write(made.splits, output.splits[number], SPLITS, metadata)
    rows.append(enrichment_study.discoveries_row(tests, study, within.cut, null))
    covered.append(coverage.set_coverage(tests, study.cut, types, params.scheme))
frame = pd.DataFrame(rows).astype({"sae": "str", "stratified": "Int64"})
tables.write(frame, output.discoveries, DISCOVERIES, metadata)
tables.write(pd.concat(covered, ignore_index=True), output.set_coverage, SET_COVERAGE, metadata)
