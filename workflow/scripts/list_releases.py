"""Every release that SAELens lists: model, how many SAEs, how wide, whether a study of it can be built."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.models import catalogue
from fsrl.tables import core as tables
from fsrl.tables.releases import RELEASES

output, params = snakemake.output, snakemake.params
found = catalogue.frame(params.studies)
tables.write(found, output.parquet, RELEASES, {"sae-lens": params.version})
with files.atomic_write(output.tsv) as path:
    catalogue.shown(found).to_csv(path, sep="\t", index=False)
