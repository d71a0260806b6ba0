"""Bring back what the records of studies name and the Hugging Face cache has lost."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.models import hub_record, lenses, sources

for source, record in zip(snakemake.params.sources, snakemake.input.lost, strict=True):
    is_lens = "transport" in source
    files = lenses.LensSource.from_settings(source).hub_files() if is_lens else sources.hub_files_of(source)
    hub_record.restore(files, record)
