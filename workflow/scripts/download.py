"""Bring back what the records of studies name and the Hugging Face cache has lost."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.models import hub_record, sources

for source, record in zip(snakemake.params.sources, snakemake.input.lost, strict=True):
    hub_record.restore(sources.hub_files_of(source), record)
