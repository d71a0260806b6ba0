"""The saved output of benchmarks/ -> LaTeX tables: time and memory against other ways, and of each stage."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.latex import compute as tex_tables_compute
from fsrl.latex import speed as tex_tables_speed
from fsrl.latex import table as tex_tables

given, made = snakemake.input, snakemake.output
speed = tex_tables_speed.speed(files.read_json(given.moments), files.read_json(given.enrichment))
tex_tables.write(made.speed, speed, [given.moments, given.enrichment])
tex_tables.write(made.compute, tex_tables_compute.stages(files.read_json(given.stages)), [given.stages])
