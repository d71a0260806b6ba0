"""A study's SAEs, or its model's neurons -> plain safetensors."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import os

from fsrl.errors import FsrlError
from fsrl.models import dictionaries, hub_record, reading, sources
from fsrl.weights import matrices as weights

params, study = snakemake.params, snakemake.wildcards.study
for record in snakemake.input.fetched:
    hub_record.restore(sources.hub_files_of(params.source), record)
saes = sources.SAESource.from_settings(params.source["saes"])
# Planned before the files were here (rules/common.smk): its effects would be refused, hours later.
if study in os.environ.get("FSRL_UNREAD", "").splitlines() and (found := saes.transcoders()):
    raise FsrlError(
        f"study {study}: {found[0]} of {saes.release} is a transcoder, which has no effects, and only its "
        "files tell; they are here now, so that the same command, run again, leaves effects out"
    )
model = reading.read_model(sources.ModelSource(**params.source["model"]), blocks=dictionaries.blocks(saes))
for decoder, path in zip(dictionaries.decoders(saes, model, study=study), snakemake.output, strict=True):
    weights.write_decoder(weights.identified_decoder(decoder), path)
