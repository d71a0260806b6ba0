"""Bring a study's files from the Hugging Face hub into its cache, and note which they are."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.models import hub_files, sources

source = snakemake.params.source
model = sources.ModelSource(**source["model"])
saes = sources.SAESource.from_settings(source["saes"])
files = model.hub_files() + saes.hub_files()
hub_files.fetch(files)
hub_files.write_record(files, snakemake.output[0])
