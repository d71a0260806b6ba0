"""What the features of one SAE do, in words: Neuronpedia's explanations, or ones made from enrichment."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import sys

from fsrl.enrichment import store
from fsrl.explanations import local
from fsrl.neuronpedia import api as neuronpedia
from fsrl.tables import core as tables
from fsrl.tables.enrichment import BEST_SETS
from fsrl.tables.explanations import EXPLANATIONS
from fsrl.tables.moments import EXTREMES
from fsrl.tables.types import TYPES

given, params = snakemake.input, snakemake.params
if params.place is None:
    (best_sets,), (enrichment,), (extremes,) = given.best_sets, given.enrichment, given.extremes
    sets, (t,) = store.statistic(enrichment, "t")
    records = local.from_enrichment(
        tables.read(best_sets, BEST_SETS), tables.read(extremes, EXTREMES), t=(sets, t), level=params.level
    )
    frame = local.frame(records, local.LOCAL_SOURCE)
    metadata = tables.read_metadata(best_sets)
    metadata |= {"explanations": "made from enrichment: comparing them with types is circular"}
else:
    types = tables.read(given.types[0], TYPES)
    found = neuronpedia.explanations(
        *params.place,
        cache=params.cache,
        n_features=int((types["scheme"] == params.scheme).sum()),
        progress=sys.stderr.isatty(),
    )
    place = "/".join(params.place)
    frame = local.frame(found, place)
    metadata = tables.read_metadata(given.types[0])
    metadata |= {"explanations": f"Neuronpedia's of {place}"}
    metadata |= {"coverage": str(found.coverage), "exported": found.exported}
tables.write(frame, snakemake.output[0], EXPLANATIONS, metadata)
