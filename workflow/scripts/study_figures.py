"""The figures that show all layers of a study in one view side by side."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

import pandas as pd

from fsrl.figures import files as figure_files
from fsrl.figures import layers as plot_layers
from fsrl.figures import nulls as plot_nulls
from fsrl.tables import core as tables

given, params = snakemake.input, snakemake.params
title = f"{params.title} · view {snakemake.wildcards.view}"
shared = tables.read(given.null, tables.NULL)
nulls = [
    pd.concat([shared, tables.read(path, tables.NULL)], ignore_index=True) for path in given.layer_nulls
] or [shared] * len(params.sae_ids)
layers = [
    plot_layers.Layer(
        sae,
        tables.read(moments, tables.MOMENTS),
        null,
        tables.read(types, tables.TYPES),
        tables.read(counts, tables.TYPE_COUNTS),
    )
    for sae, moments, null, types, counts in zip(
        params.sae_ids, given.moments, nulls, given.types, given.type_counts, strict=True
    )
]
figures = {
    "layers_grid": plot_layers.layers_grid(layers, scheme=params.scheme, title=title),
    "moments_by_layer": plot_layers.moments_by_layer(layers, title=title),
    "nulls_by_layer": plot_nulls.nulls_by_layer(layers, title=title),
    "type_shares": plot_layers.type_shares(layers, title=title),
}
for path in snakemake.output:
    figure_files.save(figures[Path(path).stem], path)
