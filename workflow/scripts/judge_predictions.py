"""Judge the registered predictions from the tables of the studies: held, failed, or not run and why."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

from fsrl import files
from fsrl.predictions import judging
from fsrl.predictions.registered import parse
from fsrl.tables import core as tables
from fsrl.tables.predictions import PREDICTIONS

given, output, params = snakemake.input, snakemake.output, snakemake.params
predictions = [parse(name, entry) for name, entry in params.written.items()]
paths = {tuple(key): path for key, path in zip(params.names, given.tables, strict=True)}
judged = judging.judge(predictions, paths, params.not_run)
metadata = {"registered": params.registered, "predictions": json.dumps(params.written, sort_keys=True)}
tables.write(judged, output.parquet, PREDICTIONS, metadata)
with files.atomic_write(output.tsv) as path:
    judging.shown(judged).to_csv(path, sep="\t", index=False)
