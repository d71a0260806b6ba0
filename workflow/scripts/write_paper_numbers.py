"""The numbers of the paper's prose that belong to one study."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl import files
from fsrl.numbers import choices, evidence, study, token_sets
from fsrl.numbers import headlines as tex_numbers
from fsrl.numbers import reading as tex_numbers_tables

given, params = dict(snakemake.input.items()), snakemake.params
tables = tex_numbers_tables.read(given, params.sae_ids, **params.study)
headlines = (*study.HEADLINES, *token_sets.HEADLINES, *evidence.HEADLINES, *choices.HEADLINES)
text = tex_numbers.macros(params.study["study"], tex_numbers.study_values(tables, headlines))
with files.atomic_write(snakemake.output[0]) as temporary:
    Path(temporary).write_text(text, encoding="utf-8")
