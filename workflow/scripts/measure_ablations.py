"""How a study's types depend on the draws of the nulls and on how W_U is read."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import json

import pandas as pd

from fsrl import devices
from fsrl.claims import ablations
from fsrl.names import BOUNDING, SHARED
from fsrl.nulls.joined import joined
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.sensitivity import ABLATIONS
from fsrl.types.rules import parse_scheme
from fsrl.weights import matrices as weights

given, params = snakemake.input, snakemake.params
device, scheme = devices.pick(params.device), parse_scheme(*params.scheme[0])
dealt_into = params.settings["parts"]
shared = [tables.read(path, NULL) for path in (given.null, given.fresh)]
dealt = ablations.deal(*shared, dealt_into)
parts, own = [], []
for number, (sae, path) in enumerate(zip(params.sae_ids, given.moments, strict=True)):
    moments, deals, layer = tables.read(path, MOMENTS), [dealt], []
    if given.layer_nulls:
        layer = [tables.read(paths[number], NULL) for paths in (given.layer_nulls, given.layer_fresh)]
        deals.append(ablations.deal(*layer, dealt_into))
    parts.append(ablations.of_draws(sae, moments, deals, scheme))
    own.append((moments, *(joined(one, layer[place : place + 1]) for place, one in enumerate(shared))))
parts += ablations.of_readings(
    (weights.read_decoder(path, device) for path in given.decoders),
    own,
    weights.read_unembedding(given.unembedding, device),
    params.view,
    scheme,
    kinds=[kind for kind in params.kinds if kind in BOUNDING and kind != SHARED],
    draws=params.settings["draws"],
    seed=params.settings["seed"],
)
about = {"scheme": params.scheme[0][0], "view": json.dumps(params.view, sort_keys=True)}
about |= {name: json.dumps(value) for name, value in params.settings.items()}
metadata = tables.read_metadata(given.moments[0]) | about | devices.described(device)
tables.write(pd.concat(parts, ignore_index=True), snakemake.output[0], ABLATIONS, metadata)
