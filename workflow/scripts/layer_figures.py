"""All figures of one layer in one view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

import pandas as pd

from fsrl.figures import exemplars as plot_exemplars
from fsrl.figures import files as figure_files
from fsrl.figures import layer as plots
from fsrl.tables import core as tables

given, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
title = f"{params.title} · {wildcards.sae} · view {wildcards.view}"
moments = tables.read(given.moments, tables.MOMENTS)
null = pd.concat([tables.read(path, tables.NULL) for path in given.nulls], ignore_index=True)
types = tables.read(given.types, tables.TYPES)
counts = tables.read(given.type_counts, tables.TYPE_COUNTS)
extremes = tables.read(given.extremes, tables.EXTREMES)
histograms = tables.read(given.histograms, tables.HISTOGRAMS)
shown = {"scheme": params.scheme, "title": title}
figures = {
    "skewness": plots.skewness(moments, null, title=title),
    "kurtosis": plots.kurtosis(moments, null, title=title),
    "skewness_vs_kurtosis": plots.skewness_vs_kurtosis(moments, null, title=title),
    "types": plots.types(moments, null, types, counts, **shown),
    "exemplars": plot_exemplars.exemplars(moments, types, counts, extremes, histograms, **shown),
}
for path in snakemake.output:
    figure_files.save(figures[Path(path).stem], path)
