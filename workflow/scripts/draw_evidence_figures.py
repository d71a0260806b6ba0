"""The figures of a study's token sets, tests and thresholds in one view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fsrl.enrichment import calibration, store
from fsrl.enrichment import statistics as enrichment
from fsrl.figures import enrichment as plot_evidence
from fsrl.figures import files as figure_files
from fsrl.figures import heatmap as plot_heatmap
from fsrl.figures import sensitivity as plot_sensitivity
from fsrl.figures import splits as plot_splits
from fsrl.tables import core as tables
from fsrl.tables.enrichment import BEST_SETS, DISCOVERIES, ODDS_RATIOS
from fsrl.tables.sensitivity import SENSITIVITY
from fsrl.tables.types import TYPE_COUNTS, TYPES
from fsrl.weights import matrices as weights

given, params = snakemake.input, snakemake.params
title = f"{params.title} · view {snakemake.wildcards.view}"
unembedding = weights.read_unembedding(given.unembedding)
sets = store.read_token_sets(given.sets)
kinds = pd.read_csv(given.set_list, sep="\t", keep_default_na=False).set_index("set")["kind"].to_dict()
discoveries = tables.read(given.discoveries, DISCOVERIES)
layers, chance, figures = [], [], {}
for number, sae in enumerate(params.sae_ids):
    types = tables.read(given.types[number], TYPES)
    counts = tables.read(given.type_counts[number], TYPE_COUNTS)
    best = tables.read(given.best_sets[number], BEST_SETS)
    odds = tables.read(given.odds_ratios[number], ODDS_RATIOS)
    layers.append(plot_evidence.Evidence(sae, best, odds, counts))
    view = weights.view(weights.read_decoder(given.decoders[number]), unembedding, **params.view)
    ids = view.token_ids.numpy()
    members = sets.iloc[ids]
    tested = torch.from_numpy(members.to_numpy().T.copy())
    tested = tested[enrichment.testable(tested)]
    draws = {"draws": params.draws, "seed": params.seed + number}
    chance.append(calibration.null_log10_p(view.W_dec, view.W_U, tested, **draws))
    tokens = [unembedding.tokens[i] for i in ids]
    splits = [
        plot_splits.Split(
            name, *choice, (view.W_dec[choice[0]] @ view.W_U).numpy(), members[choice[1]].to_numpy(), tokens
        )
        for name, choice in plot_splits.best_exemplars(types, best, scheme=params.scheme).items()
    ]
    shown = {"scheme": params.scheme, "title": f"{params.title} · {sae} · view {snakemake.wildcards.view}"}
    figures[sae] = plot_splits.splits(splits, counts, **shown)
note = f"{params.draws:,} null directions like the rows of each of {len(layers)} layers, "
note += f"{discoveries['sets'].max()} token sets"
p = {test: np.concatenate([layer[test] for layer in chance]) for test in plot_evidence.TESTS}
sensitivity = tables.read(given.sensitivity, SENSITIVITY)
figures |= {
    "enrichment_heatmap": plot_heatmap.heatmap(layers, kinds, scheme=params.scheme, title=title),
    "manhattan": plot_evidence.manhattan(layers, discoveries, kinds, title=title),
    "null_p_values": plot_evidence.qq(p, note=note, title=title),
    "sensitivity": plot_sensitivity.sensitivity(sensitivity, scheme=params.scheme, title=title),
}
for path in map(Path, snakemake.output):
    figure_files.save(figures[path.parent.name if path.stem == "splits" else path.stem], path)
