"""The enrichment tests of a study in one view where there is nothing to find: p-values and discoveries."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import pandas as pd
import torch

from fsrl import devices
from fsrl.enrichment import best_sets, calibration, null_frames, row_nulls, store
from fsrl.enrichment import statistics as enrichment
from fsrl.tables import core as tables
from fsrl.tables.enrichment import NULL_DISCOVERIES, NULL_LEVEL, NULL_P_VALUES
from fsrl.weights import matrices as weights
from fsrl.weights import provenance, transport

given, params, output = snakemake.input, snakemake.params, snakemake.output
device = devices.pick(params.device)
unembedding = weights.read_unembedding(given.unembedding, device)
sets = store.read_token_sets(given.sets)
moved = transport.read(given.transport[0], device) if given.transport else None
p = [store.statistic(path, "log10_p")[1][0] for path in given.enrichment]
cut = best_sets.of_study(p, level=params.level).cut
p_values, discoveries, nulls = [], [], None
for number, (sae, path) in enumerate(zip(params.sae_ids, given.decoders, strict=True)):
    decoder = weights.read_decoder(path, device)
    view = transport.view(decoder, unembedding, params.view, moved)
    members = torch.from_numpy(sets.to_numpy()[view.token_ids.numpy()].T.copy())
    tested = enrichment.testable(members)
    if nulls is None or moved is not None:  # of W_U alone, which transport makes a layer's own
        nulls = row_nulls.null_directions(view.W_U, draws=params.draws, seed=params.seed)
    # The seed of what is tested is none of those that nulls are drawn with.
    chosen = {"nulls": nulls, "repetitions": params.repetitions, "seed": params.seed + 1 + number}
    asked = {"level": params.level, "cut": cut}
    found = list(calibration.null_tests(view.W_dec, view.W_U, members[tested], **chosen, **asked))
    discoveries.append(null_frames.null_discoveries_frame(found, sae, level=params.level, cut=cut))
    features = calibration.checked_features(len(view.W_dec)).numpy()
    names = sets.columns[tested.numpy()].tolist()
    first = [one for one in found if one.z is not None]
    p_values += [null_frames.null_p_values_frame(one, features, names, sae) for one in first]
made = {"draws": params.draws, "seed": params.seed, **devices.described(device)}
metadata = provenance.metadata(unembedding, study=snakemake.wildcards.study, view=params.view, **made)
tables.write(pd.concat(p_values, ignore_index=True), output.p_values, NULL_P_VALUES, metadata)
every = pd.concat(discoveries, ignore_index=True)
tables.write(every, output.discoveries, NULL_DISCOVERIES, metadata)
tables.write(null_frames.null_level_frame(every), output.level, NULL_LEVEL, metadata)
