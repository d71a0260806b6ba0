"""The figure of several dictionaries of one model side by side."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import pandas as pd

from fsrl.figures import dictionaries
from fsrl.figures import files as figure_files

params = snakemake.params
frame = pd.read_csv(snakemake.input.dictionaries, sep="\t")
figure = dictionaries.dictionaries(frame, params.titles, title=params.title)
for path in snakemake.output:
    figure_files.save(figure, path)
