"""How the residual stream varies on a text, at the hook of each of a study's SAEs."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from fsrl import devices, files
from fsrl.models import activations, hub_record, sources
from fsrl.weights import covariances
from fsrl.weights import matrices as weights

given, params = snakemake.input, snakemake.params
model = sources.ModelSource(**params.model)
for record in given.fetched:
    hub_record.restore(model.hub_files(), record)
hooks = dict.fromkeys(weights.read_decoder(path).hook for path in given.decoders)
found = activations.second_moments(
    model.directory(),
    files.read_text(given.text),
    list(hooks),
    context=params.context,
    max_tokens=params.max_tokens,
    device=devices.pick(params.device),
)
covariances.write(found, snakemake.output[0])
