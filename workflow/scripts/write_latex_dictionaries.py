"""The LaTeX table of several dictionaries of one model side by side."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import pandas as pd

from fsrl.latex import table as latex_table
from fsrl.latex import types as type_tables

params = snakemake.params
frame = pd.read_csv(snakemake.input.dictionaries, sep="\t")
latex_table.write(snakemake.output[0], type_tables.dictionaries(frame, params.titles), [params.source])
