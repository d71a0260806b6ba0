"""Which token sets layers' features promote and suppress, in one view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import torch

from fsrl import devices
from fsrl.enrichment import frames as enrichment_frames
from fsrl.enrichment import row_nulls, store
from fsrl.enrichment import statistics as enrichment
from fsrl.tables import core as tables
from fsrl.tables.enrichment import ENRICHMENT
from fsrl.weights import matrices as weights
from fsrl.weights import provenance, transport

given, params = snakemake.input, snakemake.params
device = devices.pick(params.device)
unembedding, read = weights.read_unembedding(given.unembedding, device), store.read_token_sets(given.sets)
nulls = None
moved = transport.read(given.transport[0], device) if given.transport else None
for path, output in zip(given.decoders, snakemake.output, strict=True):
    decoder = weights.read_decoder(path, device)
    view = transport.view(decoder, unembedding, params.view, moved)
    sets = read.iloc[view.token_ids.numpy()]
    members = torch.from_numpy(sets.to_numpy().T.copy())
    tested = enrichment.testable(members)
    strata = None
    if unembedding.counts is not None:
        strata = enrichment.frequency_strata(unembedding.counts[view.token_ids])
    if nulls is None or moved is not None:  # of W_U alone: the same for every layer, unless it is carried
        nulls = row_nulls.null_directions(view.W_U, draws=params.draws, seed=params.seed)
    found = enrichment.set_statistics(view.W_dec, view.W_U, members[tested], strata=strata, nulls=nulls)
    frame = enrichment_frames.enrichment_frame(found, sets.columns[tested.numpy()].tolist())
    made = {"draws": params.draws, "seed": params.seed, "rank": str(found.k)}
    made |= {"shrinkage": f"{found.shrinkage:.6g}", **devices.described(device)}
    metadata = provenance.metadata(unembedding, decoder, view=params.view, **made)
    tables.write(frame, output, ENRICHMENT, metadata)
