"""Residuals of the trained model on the first windows of the (shuffled) training stream, a file a hook."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from fsrl.mini import export as mini_export
from fsrl.mini import saes as mini_saes

model = mini_export.read_model(Path(snakemake.input.weights).parent)
stream = np.memmap(snakemake.input.train, dtype=np.uint16, mode="r")
found = mini_saes.residuals(model, stream, np.arange(snakemake.params.windows), progress=True)
for hook, path in zip(snakemake.params.hooks, snakemake.output, strict=True):
    save_file({"residuals": found[hook]}, path)
