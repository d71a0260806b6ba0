"""Trains one SAE and writes it as float16, with its densities."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from pathlib import Path

import pandas as pd
from safetensors.torch import load_file

from fsrl.mini import evaluation as mini_evaluation
from fsrl.mini import export as mini_export
from fsrl.mini import saes as mini_saes

x = load_file(snakemake.input.residuals)["residuals"]
settings = dict(snakemake.params.settings)
hook = settings.pop("hook")
weights, curve = mini_saes.train_sae(x, mini_saes.SAETraining(**settings), progress=True)
folder = Path(snakemake.output.curve).parent
mini_export.write_sae(weights, mini_evaluation.firing_counts(weights, x), len(x), hook, folder)
pd.DataFrame(curve).to_csv(snakemake.output.curve, sep="\t", index=False, float_format="%.6g")
