"""The types of several dictionaries of one model, layer by layer, beside what chance gives."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.tables import core as tables
from fsrl.tables.types import TYPE_COUNTS
from fsrl.types import dictionaries

paths, params = iter(snakemake.input.type_counts), snakemake.params
counts = {
    study: {sae: tables.read(next(paths), TYPE_COUNTS) for sae in saes} for study, saes in params.saes.items()
}
frame = dictionaries.dictionaries(counts, scheme=params.scheme)
with files.atomic_write(snakemake.output[0]) as path:
    frame.to_csv(path, sep="\t", index=False, float_format="%.6g")
