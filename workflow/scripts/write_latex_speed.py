"""The saved output of benchmarks/ -> the LaTeX table of time and memory against other ways."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json
from pathlib import Path

from fsrl.latex import speed as tex_tables_speed
from fsrl.latex import table as tex_tables

given = snakemake.input
moments, enrichment = (json.loads(Path(path).read_text()) for path in (given.moments, given.enrichment))
text = tex_tables_speed.speed(moments, enrichment)
tex_tables.write(snakemake.output[0], text, [given.moments, given.enrichment])
