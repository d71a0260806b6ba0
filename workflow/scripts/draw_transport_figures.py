"""What the later blocks make of moments and top tokens: figures of a study with a transported view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.effects.names import DIRECT, TRANSPORTED
from fsrl.figures import files as figure_files
from fsrl.figures import transported
from fsrl.tables import core as tables
from fsrl.tables.effects import AGREEMENT, PEAKS
from fsrl.tables.moments import EXTREMES, MOMENTS, NULL_QUANTILES

given, params = snakemake.input, snakemake.params
isotropic = tables.read(given.quantiles, NULL_QUANTILES)
layers = {}
for i, sae in enumerate(params.sae_ids):
    layers[sae] = transported.Layer(
        {
            DIRECT: tables.read(given.moments[i], MOMENTS),
            TRANSPORTED: tables.read(given.transported_moments[i], MOMENTS),
        },
        {
            DIRECT: tables.read(given.extremes[i], EXTREMES),
            TRANSPORTED: tables.read(given.transported_extremes[i], EXTREMES),
        },
        {DIRECT: isotropic, TRANSPORTED: tables.read(given.transported_quantiles[i], NULL_QUANTILES)},
        tables.read(given.agreement[i], AGREEMENT),
        tables.read(given.peaks[i], PEAKS),
    )
title = f"{params.title} · views {' and '.join(params.views)}"
figures = {
    "transported_moments": transported.moments(layers, title=title),
    "transported_tokens": transported.tokens(layers, title=title),
}
for path in snakemake.output:
    figure_files.save(figures[Path(path).stem], path)
