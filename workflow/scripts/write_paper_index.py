"""What the paper speaks of: numbers.tex with every number of its prose, studies_built.tex."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

import yaml

from fsrl import files
from fsrl.latex import studies as tex_studies
from fsrl.numbers import fixed as tex_numbers_fixed
from fsrl.numbers import headlines as tex_numbers
from fsrl.types.rules import parse_schemes

given, params = snakemake.input, snakemake.params
speed, record = files.read_json(given.speed), files.read_json(given.record)
seen = tex_numbers_fixed.tokens_seen(params.training, files.read_json(given.model)["n_positions"])
citation = yaml.safe_load(files.read_text(given.citation))
rules = {"rules": tex_numbers_fixed.rule_rows(parse_schemes(params.schemes))}
fixed = {
    tex_numbers_fixed.DEFINED: tex_numbers_fixed.defined_values(),
    tex_numbers_fixed.CONFIG: tex_numbers_fixed.config_values(params.config) | rules,
    tex_numbers_fixed.SPEED: tex_numbers_fixed.speed_values(speed),
    tex_numbers_fixed.STAGES: tex_numbers_fixed.stage_values(files.read_json(given.stages)),
    tex_numbers_fixed.EMBEDDED: tex_numbers_fixed.embedded_values(record, seen),
    tex_numbers_fixed.PROJECT: tex_numbers_fixed.project_values(citation),
}
parts = [tex_numbers.macros(namespace, values) for namespace, values in fixed.items()]
parts += [files.read_text(path) for path in given.numbers]
made = {
    "numbers": tex_numbers.document(parts),
    "studies": tex_studies.document(params.studies, params.skipped, params.leading),
}
for name, text in made.items():
    with files.atomic_write(snakemake.output[name]) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
