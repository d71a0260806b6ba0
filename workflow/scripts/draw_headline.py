"""The figure that the paper opens with: types, tests of nothing, agreement by hook."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.figures import files as figure_files
from fsrl.figures import headline as headline_figure
from fsrl.figures.layers import LayerInputs
from fsrl.tables import core as tables
from fsrl.tables.effects import BY_HOOK
from fsrl.tables.enrichment import NULL_P_VALUES
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.types import TYPE_COUNTS, TYPE_NULL_COUNTS, TYPES

given, params = snakemake.input, snakemake.params
null = tables.read(given.null, NULL)
layers = [
    LayerInputs(
        sae,
        tables.read(moments, MOMENTS),
        null,
        tables.read(types, TYPES),
        tables.read(counts, TYPE_COUNTS),
    )
    for sae, moments, types, counts in zip(
        params.sae_ids, given.moments, given.types, given.type_counts, strict=True
    )
]
counted = [tables.read(path, TYPE_NULL_COUNTS) for path in given.null_counts]
p_values = [tables.read(path, NULL_P_VALUES) for path in given.null_p_values]
by_hook = [tables.read(path, BY_HOOK) for path in given.by_hook]
figure = headline_figure.headline(
    layers,
    counted,
    p_values[0] if p_values else None,
    by_hook[0] if by_hook else None,
    scheme=params.scheme,
    title=f"{params.title} · view {snakemake.wildcards.view} · scheme {params.scheme}",
)
for path in snakemake.output:
    figure_files.save(figure, path)
