"""Bring a study's files from the Hugging Face hub into its cache, and note which they are."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.models import hub_record, sources

settings = snakemake.params.source
model, saes = sources.ModelSource(**settings["model"]), sources.SAESource.from_settings(settings["saes"])
hub_record.write(sources.fetch(model, saes), snakemake.output[0])
