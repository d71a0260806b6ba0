"""What the model and the SAEs reach on held-out text, measured on the stored weights."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import json
from pathlib import Path

import numpy as np

from fsrl.mini import evaluation as mini_evaluation

record = mini_evaluation.record(
    Path(snakemake.input.weights).parents[1],
    snakemake.params.hooks,
    np.fromfile(snakemake.input.held_out, dtype=np.uint16),
    json.loads(Path(snakemake.input.trigram).read_text()),
    windows=snakemake.params.windows,
)
Path(snakemake.output.record).write_text(json.dumps(record, indent=2) + "\n")
