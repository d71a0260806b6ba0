"""How all of a study's features go with token frequency, and lie in W_U's effective null space."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from functools import partial

from fsrl import devices
from fsrl.moments import confidence
from fsrl.nulls import directions
from fsrl.tables import core as tables
from fsrl.tables.steering import CONFIDENCE
from fsrl.weights import matrices as weights
from fsrl.weights import provenance, transport

given, params = snakemake.input, snakemake.params
device = devices.pick(params.device)
unembedding = weights.read_unembedding(given.unembedding, device)
W_U, token_ids = weights.view_unembedding(unembedding, **params.view)
read = confidence.reader(
    W_U,
    None if unembedding.counts is None else unembedding.counts[token_ids],
    null_space=params.null_space,
    layer_norm=unembedding.metadata.get("final_norm") == "LayerNorm",
)
moved = transport.read(given.transport[0], device) if given.transport else None
said = {"view": params.view, "null_space_dimensions": str(read.null_space.shape[1]), "seed": str(params.seed)}
said |= devices.described(device)
said |= {"transport": "same position" if given.transport else "none: transported columns are null"}
for path, output in zip(given.decoders, snakemake.output, strict=True):
    decoder = weights.read_decoder(path, device)
    T = None if moved is None else moved.at(decoder.hook)
    alike = partial(directions.spectrum, decoder.W_dec, draws=confidence.DRAWS, seed=params.seed)
    frame = confidence.confidence_frame(decoder.W_dec, read, T, spectrum=alike, seed=params.seed)
    tables.write(frame, output, CONFIDENCE, provenance.metadata(unembedding, decoder, **said))
