"""A published Jacobian lens as matrices at the hooks of a study, for a view that reads it."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.models import hub_record, lenses, sources
from fsrl.transport import lens
from fsrl.weights import matrices as weights
from fsrl.weights import transport

given = snakemake.input
model = sources.ModelSource(**snakemake.params.source["model"])
source = lenses.LensSource.from_settings(snakemake.params.source)
for record in given.fetched:
    hub_record.restore(source.hub_files(), record)
hooks = [weights.read_decoder(path).hook for path in given.decoders]
own = transport.read(given.own)
found = lens.read_artifact(source.path(), own, hooks, name=source.name, model=model.hub)
transport.write(found, snakemake.output[0])
