"""All figures of one layer in one view."""

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
title = f"{params.title} · {wildcards.sae} · view {wildcards.view}"
moments = tables.read(given.moments, MOMENTS)
shared, *own = (tables.read(path, NULL) for path in given.nulls)
null = joined(shared, own)
types = tables.read(given.types, TYPES)
counts = tables.read(given.type_counts, TYPE_COUNTS)
extremes = tables.read(given.extremes, EXTREMES)
histograms = tables.read(given.histograms, HISTOGRAMS)
shown = {"scheme": params.scheme, "title": title}
figures = {
    "skewness": layer.skewness(moments, null, title=title),
    "kurtosis": layer.kurtosis(moments, null, title=title),
    "skewness_vs_kurtosis": layer.skewness_vs_kurtosis(moments, null, title=title),
    "types": layer.types(moments, null, types, counts, **shown),
    "evidence": evidence.evidence(moments, types, counts, extremes, **shown),
    "exemplars": exemplars.exemplars(moments, types, counts, extremes, histograms, **shown),
}
for path in snakemake.output:
    figure_files.save(figures[Path(path).stem], path)
