"""The LaTeX table of several dictionaries of one model side by side."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import pandas as pd

from fsrl.latex import dictionaries
from fsrl.latex import table as latex_table

params = snakemake.params
frame = pd.read_csv(snakemake.input.dictionaries, sep="\t")
made = dictionaries.dictionaries(frame, params.titles)
latex_table.write(snakemake.output[0], made, [params.source])
