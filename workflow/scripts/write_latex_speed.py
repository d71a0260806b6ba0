"""The saved output of benchmarks/ -> the LaTeX table of time and memory against other ways."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.latex import speed as tex_tables_speed
from fsrl.latex import table as tex_tables

given = snakemake.input
text = tex_tables_speed.speed(files.read_json(given.moments), files.read_json(given.enrichment))
tex_tables.write(snakemake.output[0], text, [given.moments, given.enrichment])
