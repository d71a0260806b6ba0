"""Which token sets layers' features promote and suppress, in one view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import torch

from fsrl import devices
from fsrl.enrichment import frames as enrichment_frames
from fsrl.enrichment import statistics as enrichment
from fsrl.enrichment import store
from fsrl.tables import core as tables
from fsrl.tables.enrichment import ENRICHMENT
from fsrl.weights import matrices as weights
from fsrl.weights import provenance

given, params = snakemake.input, snakemake.params
device = devices.pick(params.device)
unembedding, read = weights.read_unembedding(given.unembedding, device), store.read_token_sets(given.sets)
for path, output in zip(given.decoders, snakemake.output, strict=True):
    decoder = weights.read_decoder(path, device)
    view = weights.view(decoder, unembedding, **params.view)
    sets = read.iloc[view.token_ids.numpy()]
    members = torch.from_numpy(sets.to_numpy().T.copy())
    tested = enrichment.testable(members)
    strata = None
    if unembedding.counts is not None:
        strata = enrichment.frequency_strata(unembedding.counts[view.token_ids])
    found = enrichment.set_statistics(view.W_dec, view.W_U, members[tested], strata=strata)
    frame = enrichment_frames.enrichment_frame(found, sets.columns[tested.numpy()].tolist())
    made = {"degrees": str(found.k - 1), "shrinkage": f"{found.shrinkage:.6g}", **devices.described(device)}
    metadata = provenance.metadata(unembedding, decoder, view=params.view, **made)
    tables.write(frame, output, ENRICHMENT, metadata)
