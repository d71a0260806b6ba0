"""The LaTeX table of dictionaries of one place of a model: which types are found again."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import pandas as pd

from fsrl.latex import counterparts
from fsrl.latex import table as latex_table

params = snakemake.params
frame = pd.read_csv(snakemake.input.counterparts, sep="\t")
made = counterparts.counterparts(frame, params.titles)
latex_table.write(snakemake.output[0], made, [params.source])
