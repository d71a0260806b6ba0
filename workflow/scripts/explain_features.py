"""Explanations of features that Neuronpedia does not have, made from enrichment."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.enrichment import store
from fsrl.explanations import local as explanations
from fsrl.tables import core as tables
from fsrl.tables.enrichment import BEST_SETS
from fsrl.tables.explanations import EXPLANATIONS
from fsrl.tables.moments import EXTREMES

given, level = snakemake.input, snakemake.params.level
paths = zip(given.best_sets, given.enrichment, given.extremes, snakemake.output, strict=True)
for best_sets, enrichment, extremes, output in paths:
    sets, (t,) = store.statistic(enrichment, "t")
    records = explanations.from_enrichment(
        tables.read(best_sets, BEST_SETS),
        tables.read(extremes, EXTREMES),
        t=(sets, t),
        level=level,
    )
    frame = explanations.frame(records, explanations.LOCAL_SOURCE)
    metadata = tables.read_metadata(best_sets)
    metadata |= {"explanations": "made from enrichment: comparing them with types is circular"}
    tables.write(frame, output, EXPLANATIONS, metadata)
