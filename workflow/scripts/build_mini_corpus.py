"""Debian packages -> passages of text, and where each comes from."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from pathlib import Path

import pandas as pd

from fsrl.mini import corpus as mini_corpus

sources = pd.read_csv(snakemake.input.sources, sep="\t")
packages = Path(snakemake.params.packages)
corpus = mini_corpus.build(sources, packages, workers=snakemake.threads)
corpus.to_parquet(snakemake.output.corpus)
provenance = mini_corpus.provenance(sources, corpus, packages)
provenance.to_csv(snakemake.output.provenance, sep="\t", index=False)
