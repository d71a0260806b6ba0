"""The mean Jacobian of a study's model from the hook of each of its SAEs to the end of the stream."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from fsrl import devices, files
from fsrl.models import hub_record, reading, sources
from fsrl.transport import fit
from fsrl.weights import matrices as weights
from fsrl.weights import transport

given, params = snakemake.input, snakemake.params
model = sources.ModelSource(**params.model)
for record in given.fetched:
    hub_record.restore(model.hub_files(), record)
settings = fit.Settings(text=files.read_text(given.text), **params.settings)
hooks = [weights.read_decoder(path).hook for path in given.decoders]
found = fit.fit(reading.read_model(model), hooks, settings, devices.pick(params.device))
found.metadata["text"] = given.text
transport.write(found, snakemake.output[0])
