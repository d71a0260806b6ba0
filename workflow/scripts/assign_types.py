"""Type labels of layers in all views of their study, under every scheme, and the counts that chance gives."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

from fsrl.nulls import quantiles
from fsrl.nulls.joined import joined
from fsrl.tables import core as tables
from fsrl.tables import types as type_tables
from fsrl.tables.moments import MOMENTS, NULL, NULL_QUANTILES
from fsrl.types import layer
from fsrl.types.rules import parse_schemes

given, made, params = snakemake.input, snakemake.output, snakemake.params
views, schemes = params.views, parse_schemes(params.schemes)
specs = {
    "types": type_tables.TYPES,
    "type_counts": type_tables.TYPE_COUNTS,
    "type_null_counts": type_tables.TYPE_NULL_COUNTS,
    "thresholds": type_tables.THRESHOLDS,
    "tails": type_tables.TAIL_TABLE,
    "tail_calibration": type_tables.TAIL_CALIBRATION,
}
shared = {
    "quantiles": [tables.read(path, NULL_QUANTILES) for path in given.quantiles],
    "fresh": [tables.read(path, NULL) for path in given.fresh],
}


def nulls(which, table, place):
    """A layer's nulls in one view, the shared ones first; place: of the view, among those of all layers."""
    own = [tables.read(path, table) for path in given[f"layer_{which}"][place : place + 1]]
    return joined(shared[which][place % len(views)], own)


for number, path in enumerate(given.clusters):
    clusters = tables.read(path, type_tables.CLUSTERS)["cluster"].to_numpy()
    places = range(number * len(views), (number + 1) * len(views))
    metadata = [tables.read_metadata(given.moments[place]) for place in places]
    seen = {
        view: layer.Seen(
            tables.read(given.moments[place], MOMENTS),
            quantiles.bounds(nulls("quantiles", NULL_QUANTILES, place)),
            nulls("fresh", NULL, place),
        )
        for view, place in zip(views, places, strict=True)
    }
    settings = {"d_model": int(metadata[0]["d_model"]), "seed": params.seed}
    typed = layer.of_views(schemes, seen, clusters, **settings)
    for place, about, (_, found) in zip(places, metadata, typed, strict=True):
        about["schemes"] = json.dumps(params.schemes, sort_keys=True)
        for name, spec in specs.items():
            tables.write(found[name], made[name][place], spec, about)
