"""All figures of layers in one view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.figures import evidence, exemplars, layer
from fsrl.figures import files as figure_files
from fsrl.nulls.joined import joined
from fsrl.tables import core as tables
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS, NULL
from fsrl.tables.types import TYPE_COUNTS, TYPES

given, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
shared = tables.read(given.null, NULL)
for number, sae in enumerate(params.sae_ids):
    title = f"{params.title} · {sae} · view {wildcards.view}"
    null = joined(shared, [tables.read(path, NULL) for path in given.layer_nulls[number : number + 1]])
    moments = tables.read(given.moments[number], MOMENTS)
    types = tables.read(given.types[number], TYPES)
    counts = tables.read(given.type_counts[number], TYPE_COUNTS)
    extremes = tables.read(given.extremes[number], EXTREMES)
    histograms = tables.read(given.histograms[number], HISTOGRAMS)
    shown = {"scheme": params.scheme, "title": title}
    figures = {
        "skewness": layer.skewness(moments, null, title=title),
        "kurtosis": layer.kurtosis(moments, null, title=title),
        "skewness_vs_kurtosis": layer.skewness_vs_kurtosis(moments, null, title=title),
        "types": layer.types(moments, null, types, counts, **shown),
        "evidence": evidence.evidence(moments, types, counts, extremes, **shown),
        "exemplars": exemplars.exemplars(moments, types, counts, extremes, histograms, **shown),
    }
    # Each figure of all layers, then the next one.
    for path in snakemake.output[number :: len(params.sae_ids)]:
        figure_files.save(figures[Path(path).stem], path)
