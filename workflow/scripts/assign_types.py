"""Type labels of one layer in one view, under every scheme, and the counts that chance gives."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

import pandas as pd

from fsrl.nulls import quantiles
from fsrl.nulls.joined import joined
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS, NULL, NULL_QUANTILES
from fsrl.tables.types import (
    CLUSTERS,
    TAIL_CALIBRATION,
    TAIL_TABLE,
    THRESHOLDS,
    TYPE_COUNTS,
    TYPE_NULL_COUNTS,
    TYPES,
)
from fsrl.types import chance, classify, tails
from fsrl.types.rules import parse_schemes

given, made, params = snakemake.input, snakemake.output, snakemake.params
metadata = tables.read_metadata(given.moments[0])
metadata["schemes"] = json.dumps(params.schemes, sort_keys=True)
moments = [tables.read(path, MOMENTS) for path in given.moments]
shared, *own = (tables.read(path, NULL_QUANTILES) for path in given.quantiles)
known = quantiles.bounds(joined(shared, own))
fresh = [
    joined(tables.read(shared, NULL), [tables.read(path, NULL) for path in own if path])
    for shared, *own in zip(given.fresh, given.layer_fresh or [None] * len(moments), strict=True)
]
clusters = tables.read(given.clusters, CLUSTERS)["cluster"].to_numpy()
found = {name: [] for name in ("types", "type_counts", "type_null_counts", "thresholds")}
for scheme in parse_schemes(params.schemes):
    # The first view is the one being typed, which a scheme without a view of its own reads.
    at = params.views.index(scheme.view) if scheme.view else 0
    typing = classify.typing_of(scheme, moments[at], known, d_model=int(metadata["d_model"]))
    found["types"].append(classify.types(typing))
    by_chance = chance.chance(typing, fresh[at])
    found["type_counts"].append(chance.type_counts(typing, by_chance, clusters, seed=params.seed))
    found["type_null_counts"].append(chance.type_null_counts(typing, by_chance))
    found["thresholds"].append(typing.thresholds())
specs = (TYPES, TYPE_COUNTS, TYPE_NULL_COUNTS, THRESHOLDS)
for (name, frames), spec in zip(found.items(), specs, strict=True):
    tables.write(pd.concat(frames, ignore_index=True), made[name], spec, metadata)
tables.write(tails.tails_frame(moments[0], known), made.tails, TAIL_TABLE, metadata)
bounding = tails.calibration(fresh[0], tails.bounding(known))
tables.write(bounding, made.tail_calibration, TAIL_CALIBRATION, metadata)
