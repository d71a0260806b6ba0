"""Enrichment of a study in one view: what is significant, each feature's best sets, each type's sets."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import json

import numpy as np
import pandas as pd
import torch

from fsrl.enrichment import best_sets as enrichment_pvalues
from fsrl.enrichment import frames as enrichment_frames
from fsrl.enrichment import scores as enrichment_scores
from fsrl.enrichment import store
from fsrl.stats import odds as enrichment_odds
from fsrl.tables import core as tables
from fsrl.tables.enrichment import BEST_SETS, DISCOVERIES, ODDS_RATIOS, SCORES
from fsrl.tables.types import TYPES
from fsrl.weights import matrices as weights

given, output, params = snakemake.input, snakemake.output, snakemake.params
settings, level = params.settings, params.settings["level"]
unembedding = weights.read_unembedding(given.unembedding)
members = store.read_token_sets(given.sets)
log10_p = [store.statistic(path, "log10_p")[1][0] for path in given.enrichment]
stratified = [store.statistic(path, "log10_p_stratified")[1][0] for path in given.enrichment]
study = enrichment_pvalues.of_study(log10_p, level=level)
stratified_cut = enrichment_pvalues.of_study(stratified, level=level).cut
rows = []
for number, sae in enumerate(params.sae_ids):
    sets, (t, eta2) = store.statistic(given.enrichment[number], "t", "eta2")
    decoder = weights.read_decoder(given.decoders[number])
    view = weights.view(decoder, unembedding, **params.view)
    types = tables.read(given.types[number], TYPES)
    metadata = tables.read_metadata(given.enrichment[number])
    metadata |= {"settings": json.dumps(settings, sort_keys=True), "scheme": params.scheme}

    up, down = enrichment_pvalues.significant(t, log10_p[number], study.cut)
    clusters = enrichment_odds.decoder_clusters(view.W_dec, threshold=settings["cluster_cosine"])
    tensors = (torch.from_numpy(part) for part in (t, log10_p[number], study.log10_q[number]))
    counts = (up.sum(axis=1), down.sum(axis=1))
    best = enrichment_frames.best_sets_frame(
        enrichment_pvalues.best_sets(*tensors), sets, eta2=eta2, clusters=clusters, counts=counts
    )
    tables.write(best, output.best_sets[number], BEST_SETS, metadata)

    labels = types.loc[types["scheme"] == params.scheme, "type"].to_numpy(dtype=str)
    draws = {"draws": settings["bootstrap"], "seed": settings["seed"]}
    odds = [
        (side, enrichment_odds.odds_ratios(flags, labels, clusters, **draws))
        for side, flags in (("promoted", up), ("suppressed", down))
    ]
    frame = enrichment_frames.sides(odds, sets)
    tables.write(frame, output.odds_ratios[number], ODDS_RATIOS, metadata)

    chosen = enrichment_frames.most_extreme(types, params.scheme, settings["scored"])
    columns = torch.from_numpy(members[sets].to_numpy()[view.token_ids.numpy()].T.copy())
    scores = enrichment_scores.signed_scores(view.W_dec, view.W_U, columns, torch.from_numpy(chosen))
    frame = enrichment_frames.scores_frame(scores, chosen, sets)
    tables.write(frame, output.scores[number], SCORES, metadata)

    known = np.isfinite(stratified[number]).any()
    rows.append(
        {
            "sae": sae,
            "sets": len(sets),
            "tests": int(np.isfinite(t).sum()),
            "promoted": int(up.sum()),
            "suppressed": int(down.sum()),
            "features": int((up | down).any(axis=1).sum()),
            "stratified": int((stratified[number] <= stratified_cut).sum()) if known else pd.NA,
            "log10_p_cut": study.cut,
            "level": level,
        }
    )
frame = pd.DataFrame(rows).astype({"sae": "str", "stratified": "Int64"})
tables.write(frame, output.discoveries, DISCOVERIES, metadata)
