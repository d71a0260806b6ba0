"""Bring a published Jacobian lens from the Hugging Face hub into its cache, and note which it is."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.models import hub_files, hub_record, lenses

source = lenses.LensSource.from_settings(snakemake.params.source)
hub_files.fetch(source.hub_files())
hub_record.write(source.hub_files(), snakemake.output[0])
