"""Bring a study's files from the Hugging Face hub into its cache, and note which they are."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.models import hub_files, hub_record, sources

files = sources.hub_files_of(snakemake.params.source)
hub_files.fetch(files)
hub_record.write(files, snakemake.output[0])
