"""Which features of dictionaries of one place of a model are in the others too, and with the same type."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.tables import core as tables
from fsrl.tables.types import TYPES
from fsrl.types import counterparts, select
from fsrl.weights import matrices as weights

given, params = snakemake.input, snakemake.params
names = [(study, sae) for study, saes in params.saes.items() for sae in saes]
found = []
for (study, sae), decoder, types in zip(names, given.decoders, given.types, strict=True):
    stored = weights.read_decoder(decoder)
    labels = select.of_scheme(tables.read(types, TYPES), params.scheme, "types")["type"]
    found.append(counterparts.Dictionary(study, sae, stored.hook, stored.W_dec, labels.to_numpy(str)))
with files.atomic_write(snakemake.output[0]) as path:
    counterparts.counterparts(found).to_csv(path, sep="\t", index=False, float_format="%.6g")
