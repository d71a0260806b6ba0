"""Moments, extreme tokens and histograms of one layer's logit weights, in all views of its study."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.moments import engine
from fsrl.moments import frames as moment_frames
from fsrl.stats import quantiles
from fsrl.tables import core as tables
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS, NULL
from fsrl.weights import matrices as weights
from fsrl.weights import provenance

given, params, output = snakemake.input, snakemake.params, snakemake.output
unembedding = weights.read_unembedding(given.unembedding)
decoder = weights.read_decoder(given.decoder)
found = engine.decoder_moments(decoder, unembedding, params.views, **params.settings)
for number, (view, (result, token_ids)) in enumerate(found.items()):
    kappa0 = quantiles.quantile(tables.read(given.nulls[number], NULL), "kurtosis", 0.5)
    metadata = provenance.metadata(unembedding, decoder, view=params.views[view], **params.settings)
    frames = {
        "moments": (moment_frames.moments_frame(result, decoder, kappa0), MOMENTS),
        "extremes": (
            moment_frames.extremes_frame(result, unembedding.tokens, token_ids),
            EXTREMES,
        ),
        "histograms": (moment_frames.histogram_frame(result), HISTOGRAMS),
    }
    for name, (frame, table) in frames.items():
        tables.write(frame, output[name][number], table, metadata)
