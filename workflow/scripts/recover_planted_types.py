"""Are types found again that were planted? Over a study's vocabulary, with a made-up W_U."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

from fsrl import devices
from fsrl.claims import planted, recovery
from fsrl.tables import core as tables
from fsrl.tables.planted import RECOVERY, RECOVERY_BY_SET
from fsrl.tables.tokens import TOKENS
from fsrl.types.rules import parse_schemes

settings, schemes = dict(snakemake.params.settings), snakemake.params.schemes
tokens = tables.read(snakemake.input.tokens, TOKENS)["token"].tolist()
device = devices.pick(snakemake.params.device)
world = planted.world(tokens, d_model=settings.pop("d_model"), seed=settings["seed"]).to(device)
found, by_set = recovery.sweep(world, parse_schemes(schemes), **settings)
metadata = tables.read_metadata(snakemake.input.tokens)
metadata |= devices.described(device)
metadata |= {
    "planted": json.dumps(snakemake.params.settings, sort_keys=True),
    "schemes": json.dumps(schemes, sort_keys=True),
}
tables.write(found, snakemake.output.recovery, RECOVERY, metadata)
tables.write(by_set, snakemake.output.by_set, RECOVERY_BY_SET, metadata)
