"""Neuronpedia's explanations of one SAE's features, from the cache or else the network."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import sys

from fsrl.explanations import local as explanations
from fsrl.neuronpedia import api as neuronpedia
from fsrl.tables import core as tables
from fsrl.tables.explanations import EXPLANATIONS
from fsrl.tables.types import TYPES

params = snakemake.params
model_id, source = params.place
types = tables.read(snakemake.input.types, TYPES)
found = neuronpedia.explanations(
    model_id,
    source,
    cache=params.cache,
    n_features=int((types["scheme"] == params.scheme).sum()),
    progress=sys.stderr.isatty(),
)
metadata = tables.read_metadata(snakemake.input.types)
metadata |= {
    "explanations": f"Neuronpedia's of {model_id}/{source}",
    "coverage": str(found.coverage),
    "exported": found.exported,
}
frame = explanations.frame(found, f"{model_id}/{source}")
tables.write(frame, snakemake.output[0], EXPLANATIONS, metadata)
