"""p-values of the enrichment tests for directions that mean nothing, in one view of a study."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import pandas as pd
import torch

from fsrl import devices
from fsrl.enrichment import calibration, frames, store
from fsrl.enrichment import statistics as enrichment
from fsrl.tables import core as tables
from fsrl.tables.enrichment import NULL_P_VALUES
from fsrl.weights import matrices as weights
from fsrl.weights import provenance

given, params = snakemake.input, snakemake.params
device = devices.pick(params.device)
unembedding = weights.read_unembedding(given.unembedding, device)
sets = store.read_token_sets(given.sets)
layers = []
for number, (sae, path) in enumerate(zip(params.sae_ids, given.decoders, strict=True)):
    view = weights.view(weights.read_decoder(path, device), unembedding, **params.view)
    members = torch.from_numpy(sets.to_numpy()[view.token_ids.numpy()].T.copy())
    tested = enrichment.testable(members)
    draws = {"draws": params.draws, "seed": params.seed + number}
    found = calibration.null_log10_p(view.W_dec, view.W_U, members[tested], **draws)
    layers.append(frames.null_p_values_frame(found, sets.columns[tested.numpy()].tolist(), sae))
made = {"draws": params.draws, "seed": params.seed, **devices.described(device)}
metadata = provenance.metadata(unembedding, study=snakemake.wildcards.study, view=params.view, **made)
tables.write(pd.concat(layers, ignore_index=True), snakemake.output[0], NULL_P_VALUES, metadata)
