"""A study's tables as a folder for others to load: a file a table, card, Croissant, Neuronpedia's layout."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

import yaml

from fsrl.dataset import folder
from fsrl.dataset.card import About
from fsrl.dataset.merge import Part

given, params = snakemake.input, snakemake.params
parts = [Part(Path(path), sae, view) for path, (_, sae, view) in zip(given.tables, params.parts, strict=True)]
tables = {}
for (table, _, _), part in zip(params.parts, parts, strict=True):
    tables.setdefault(table, []).append(part)
with open(given.citation, encoding="utf-8") as file:
    citation = yaml.load(file, Loader=yaml.BaseLoader)
about = About(
    study=snakemake.wildcards.study,
    title=params.title,
    citation=citation,
    views=params.views,
    left_out=params.without,
    neuronpedia_view=params.neuronpedia_view,
)
folder.write(snakemake.output[0], about, tables, params.places)
