"""Bring files from the Hugging Face hub into its cache, and note which: a model's, or all of a study."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.models import hub_record, sources

settings = snakemake.params.source
model = sources.ModelSource(**settings["model"])
saes = [sources.SAESource.from_settings(settings["saes"])] if "saes" in settings else []
files = sources.fetch(model, *saes)
for record in snakemake.input.get("model", []):
    hub_record.check(model.hub_files(), record)
hub_record.write(files, snakemake.output[0])
