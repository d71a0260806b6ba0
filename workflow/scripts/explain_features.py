"""What features do, in words: Neuronpedia's explanations of one SAE, or ones of SAEs made from enrichment."""

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
    of_saes = zip(given.best_sets, given.enrichment, given.extremes, snakemake.output, strict=True)
    for best_sets, enrichment, extremes, path in of_saes:
        sets, (t,) = store.statistic(enrichment, "t")
        read = tables.read(best_sets, BEST_SETS), tables.read(extremes, EXTREMES)
        records = local.from_enrichment(*read, t=(sets, t), level=params.level)
        metadata = tables.read_metadata(best_sets)
        metadata |= {"explanations": "made from enrichment: comparing them with types is circular"}
        tables.write(local.frame(records, local.LOCAL_SOURCE), path, EXPLANATIONS, metadata)
else:
    types = tables.read(given.types[0], TYPES)
    found = neuronpedia.explanations(
        *params.place,
        cache=params.cache,
        n_features=int((types["scheme"] == params.scheme).sum()),
        progress=sys.stderr.isatty(),
    )
    place = "/".join(params.place)
    metadata = tables.read_metadata(given.types[0])
    metadata |= {"explanations": f"Neuronpedia's of {place}"}
    metadata |= {"coverage": str(found.coverage), "exported": found.exported}
    tables.write(local.frame(found, place), snakemake.output[0], EXPLANATIONS, metadata)
