"""Tables -> LaTeX tables of one study in one view; what a study has no table for is not among the outputs."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.latex import claims as tex_tables_claims
from fsrl.latex import effects as tex_tables_effects
from fsrl.latex import sensitivity as tex_tables_sensitivity
from fsrl.latex import study as tex_tables_study
from fsrl.latex import table as tex_tables
from fsrl.latex import types as tex_tables_types
from fsrl.tables import core as tables
from fsrl.tables.claims import CLAIMS_TABLE
from fsrl.tables.effects import SUMMARY
from fsrl.tables.explanations import EXPLANATIONS
from fsrl.tables.moments import EXTREMES, MOMENTS, NULL
from fsrl.tables.planted import RECOVERY
from fsrl.tables.sensitivity import AGREEMENT, SENSITIVITY
from fsrl.tables.types import TYPE_COUNTS, TYPES

given, params = dict(snakemake.input.items()), snakemake.params
saes, scheme = params.sae_ids, params.scheme


def by_layer(name, table):
    return {sae: tables.read(path, table) for sae, path in zip(saes, given[name], strict=True)}


moments, types = by_layer("moments", MOMENTS), by_layer("types", TYPES)
counts, extremes = (
    by_layer("type_counts", TYPE_COUNTS),
    by_layer("extremes", EXTREMES),
)
metadata = {sae: tables.read_metadata(path) for sae, path in zip(saes, given["moments"], strict=True)}
# Some of a study's SAEs may have explanations and others none.
explained = {Path(path).stem: path for path in given["explanations"]}
explained = {sae: tables.read(path, EXPLANATIONS) for sae, path in explained.items()}
layers = {
    sae: tex_tables_types.ExemplarLayer(moments[sae], types[sae], extremes[sae], explained.get(sae))
    for sae in saes
}
features = {sae: len(frame) for sae, frame in moments.items()}
made = {
    "studies": tex_tables_study.studies(metadata, features, params.title),
    "moments_by_layer": tex_tables_study.moments_by_layer(moments, tables.read(given["null"], NULL)),
    "types_by_layer": tex_tables_types.types_by_layer(counts, types, scheme),
    "type_overlap": tex_tables_types.type_overlap(types),
    "exemplars": tex_tables_types.exemplars(layers, scheme),
}
if "claims" in given:
    judged = tables.read(given["claims"], CLAIMS_TABLE)
    made["claims"] = tex_tables_claims.claims(judged, scheme)
    made["claims_by_scheme"] = tex_tables_claims.claims_by_scheme(judged)
if "sensitivity" in given:
    moved = tables.read(given["sensitivity"], SENSITIVITY)
    agreed = tables.read(given["agreement"], AGREEMENT)
    made["sensitivity"] = tex_tables_sensitivity.sensitivity(moved)
    made["agreement"] = tex_tables_sensitivity.agreement(agreed)
if "effects" in given:
    summary = tables.read(given["effects"], SUMMARY)
    made["effects"] = tex_tables_effects.effects(summary)
    made["effects_by_type"] = tex_tables_effects.effects_by_type(summary)
if "planted" in given:
    recovery = tables.read(given["planted"], RECOVERY)
    made["planted"] = tex_tables_sensitivity.planted(recovery, scheme)
source = f"study {params.study}, view {params.view}, scheme {scheme}"
for name, text in made.items():
    tex_tables.write(snakemake.output[name], text, [source])
