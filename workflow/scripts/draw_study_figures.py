"""The figures that show all layers of a study in one view side by side."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.figures import files as figure_files
from fsrl.figures import layers as layer_figures
from fsrl.nulls.joined import joined
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.types import TYPE_COUNTS, TYPES

given, params = snakemake.input, snakemake.params
title = f"{params.title} · view {snakemake.wildcards.view}"
shared = tables.read(given.null, NULL)
nulls = [joined(shared, [tables.read(path, NULL)]) for path in given.layer_nulls]
nulls = nulls or [shared] * len(params.sae_ids)
layers = [
    layer_figures.LayerInputs(
        sae,
        tables.read(moments, MOMENTS),
        null,
        tables.read(types, TYPES),
        tables.read(counts, TYPE_COUNTS),
    )
    for sae, moments, null, types, counts in zip(
        params.sae_ids, given.moments, nulls, given.types, given.type_counts, strict=True
    )
]
figures = {
    "layers_grid": layer_figures.layers_grid(layers, scheme=params.scheme, title=title),
    "moments_by_layer": layer_figures.moments_by_layer(layers, title=title),
    "nulls_by_layer": layer_figures.nulls_by_layer(layers, title=title),
    "type_shares": layer_figures.type_shares(layers, title=title),
}
for path in snakemake.output:
    figure_files.save(figures[Path(path).stem], path)
