"""The RO-Crate of a run: every file with its hash, what made it, of which weights and with which versions."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

import yaml

from fsrl.dataset.run_crate import Run, write

given, params = snakemake.input, snakemake.params
with open(given.citation, encoding="utf-8") as file:
    citation = yaml.load(file, Loader=yaml.BaseLoader)
run = Run(
    results=given.results,
    scripts=params.scripts,
    given=[*given.given, *given.weights],
    workflow=given.workflow,
    citation=citation,
    studies=params.studies,
    overlays=given.overlays,
    config=params.config,
)
write(Path(snakemake.output[0]).parent, run)
