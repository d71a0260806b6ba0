"""The types of several dictionaries of one model, layer by layer, beside what chance gives."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.tables import core as tables
from fsrl.tables.types import TYPE_COUNTS, TYPE_NULL_COUNTS
from fsrl.types import dictionaries

given, params = snakemake.input, snakemake.params


def of_layers(paths, table):
    """Study -> SAE -> its table."""
    paths = iter(paths)
    return {
        study: {sae: tables.read(next(paths), table) for sae in saes} for study, saes in params.saes.items()
    }


counts = of_layers(given.type_counts, TYPE_COUNTS)
null_counts = of_layers(given.null_counts, TYPE_NULL_COUNTS)
frame = dictionaries.dictionaries(counts, null_counts, scheme=params.scheme)
with files.atomic_write(snakemake.output[0]) as path:
    frame.to_csv(path, sep="\t", index=False, float_format="%.6g")
