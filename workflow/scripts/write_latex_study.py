"""Tables -> LaTeX tables of one study: what was studied, moments and types by layer, exemplars."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.latex import study as study_tables
from fsrl.latex import table as latex_table
from fsrl.latex import types as type_tables
from fsrl.tables import core as tables
from fsrl.tables.explanations import EXPLANATIONS
from fsrl.tables.moments import EXTREMES, MOMENTS, NULL
from fsrl.tables.types import TAIL_CALIBRATION, TYPE_COUNTS, TYPE_NULL_COUNTS, TYPES

given, params = snakemake.input, snakemake.params
saes, scheme = params.sae_ids, params.scheme


def by_layer(paths, table):
    return {sae: tables.read(path, table) for sae, path in zip(saes, paths, strict=True)}


moments, types = by_layer(given.moments, MOMENTS), by_layer(given.types, TYPES)
counts, extremes = by_layer(given.type_counts, TYPE_COUNTS), by_layer(given.extremes, EXTREMES)
null_counts = by_layer(given.null_counts, TYPE_NULL_COUNTS)
metadata = {sae: tables.read_metadata(path) for sae, path in zip(saes, given.moments, strict=True)}
# Some of a study's SAEs may have explanations and others none.
explained = {Path(path).stem: tables.read(path, EXPLANATIONS) for path in given.explanations}
layers = {
    sae: type_tables.ExemplarLayer(moments[sae], types[sae], extremes[sae], explained.get(sae))
    for sae in saes
}
features = {sae: len(frame) for sae, frame in moments.items()}
made = {
    "studies": study_tables.studies(metadata, features, params.title),
    "moments_by_layer": study_tables.moments_by_layer(moments, tables.read(given.null[0], NULL)),
    "types_by_layer": type_tables.types_by_layer(counts, types, null_counts, scheme),
    "type_overlap": type_tables.type_overlap(types),
    "tail_calibration": type_tables.tail_calibration(by_layer(given.tail_calibration, TAIL_CALIBRATION)),
    "exemplars": type_tables.exemplars(layers, scheme),
}
for path in snakemake.output:
    latex_table.write(path, made[Path(path).stem], [params.source])
