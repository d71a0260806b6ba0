"""Explanations of features that Neuronpedia does not have, made from enrichment."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.explanations import local as explanations
from fsrl.tables import core as tables
from fsrl.tables import enrichment as enrichment_tables
from fsrl.tables import explanations as explanation_tables

given, level = snakemake.input, snakemake.params.level
paths = zip(given.best_sets, given.enrichment, given.extremes, snakemake.output, strict=True)
for best_sets, enrichment, extremes, output in paths:
    sets, (t,) = enrichment_tables.statistic(enrichment, "t")
    records = explanations.from_enrichment(
        tables.read(best_sets, enrichment_tables.BEST_SETS),
        tables.read(extremes, tables.EXTREMES),
        t=(sets, t),
        level=level,
    )
    frame = explanations.frame(records, explanations.LOCAL_SOURCE)
    metadata = tables.read_metadata(best_sets)
    metadata |= {"explanations": "made from enrichment: comparing them with types is circular"}
    tables.write(frame, output, explanation_tables.EXPLANATIONS, metadata)
