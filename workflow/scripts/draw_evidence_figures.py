"""The figures of a study's token sets, tests and thresholds in one view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.figures import coverage, heatmap, sensitivity, splits
from fsrl.figures import enrichment as enrichment_figures
from fsrl.figures import files as figure_files
from fsrl.tables import core as tables
from fsrl.tables.enrichment import (
    BEST_SETS,
    DISCOVERIES,
    NULL_P_VALUES,
    ODDS_RATIOS,
    SET_COVERAGE,
    SPLITS,
)
from fsrl.tables.sensitivity import SENSITIVITY
from fsrl.tables.types import TYPE_COUNTS

given, params, view = snakemake.input, snakemake.params, snakemake.wildcards.view
title, scheme = f"{params.title} · view {view}", params.scheme
kinds = tables.read_tsv(given.set_list, keep_default_na=False).set_index("set")["kind"].to_dict()
discoveries = tables.read(given.discoveries, DISCOVERIES)
layers = [
    enrichment_figures.Evidence(
        sae, tables.read(best, BEST_SETS), tables.read(odds, ODDS_RATIOS), tables.read(counts, TYPE_COUNTS)
    )
    for sae, best, odds, counts in zip(
        params.sae_ids, given.best_sets, given.odds_ratios, given.type_counts, strict=True
    )
]
p_values, moved = tables.read(given.null_p_values, NULL_P_VALUES), tables.read(given.sensitivity, SENSITIVITY)
covered = tables.read(given.set_coverage, SET_COVERAGE)
figures = {
    "enrichment_heatmap": heatmap.heatmap(layers, kinds, scheme=scheme, title=title),
    "manhattan": enrichment_figures.manhattan(layers, discoveries, kinds, title=title),
    "null_p_values": enrichment_figures.qq(p_values, title=title),
    "set_coverage": coverage.set_coverage(covered, scheme=scheme, title=title),
    "sensitivity": sensitivity.sensitivity(moved, scheme=scheme, title=title),
}
for path in snakemake.output[:-1]:
    figure_files.save(figures[Path(path).stem], path)
for layer, path in zip(layers, given.splits, strict=True):
    shown = {"scheme": scheme, "title": f"{params.title} · {layer.hook} · view {view}"}
    figure = splits.splits(tables.read(path, SPLITS), layer.type_counts, **shown)
    figure_files.save_all(figure, snakemake.output.splits, layer.hook)
