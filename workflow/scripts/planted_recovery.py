"""Are types found again that were planted? Over a study's vocabulary, with a made-up W_U."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

from fsrl.claims import planted, recovery
from fsrl.tables import core as tables
from fsrl.tables import evidence as evidence_tables

settings, schemes = dict(snakemake.params.settings), snakemake.params.schemes
tokens = tables.read(snakemake.input.tokens, tables.TOKENS)["token"].tolist()
world = planted.world(tokens, d_model=settings.pop("d_model"), seed=settings["seed"])
found, by_set = recovery.sweep(world, schemes, **settings)
metadata = tables.read_metadata(snakemake.input.tokens)
metadata |= {
    "planted": json.dumps(snakemake.params.settings, sort_keys=True),
    "schemes": json.dumps(schemes, sort_keys=True),
}
tables.write(found, snakemake.output.recovery, evidence_tables.RECOVERY, metadata)
tables.write(by_set, snakemake.output.by_set, evidence_tables.RECOVERY_BY_SET, metadata)
