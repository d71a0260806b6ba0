"""Moments, extreme tokens and histograms of one layer's logit weights, in all views of its study."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.moments import frames as moment_frames
from fsrl.moments import views as moments_views
from fsrl.stats import quantiles
from fsrl.tables import core as tables
from fsrl.weights import matrices as weights
from fsrl.weights import provenance

given, params, output = snakemake.input, snakemake.params, snakemake.output
unembedding = weights.read_unembedding(given.unembedding)
decoder = weights.read_decoder(given.decoder)
found = moments_views.decoder_moments(decoder, unembedding, params.views, **params.settings)
for number, (view, (result, token_ids)) in enumerate(found.items()):
    kappa0 = quantiles.quantile(tables.read(given.nulls[number], tables.NULL), "kurtosis", 0.5)
    metadata = provenance.of(unembedding, decoder, view=params.views[view], **params.settings)
    frames = {
        "moments": (moment_frames.moments_frame(result, decoder, kappa0), tables.MOMENTS),
        "extremes": (moment_frames.extremes_frame(result, unembedding.tokens, token_ids), tables.EXTREMES),
        "histograms": (moment_frames.histogram_frame(result), tables.HISTOGRAMS),
    }
    for name, (frame, table) in frames.items():
        tables.write(frame, output[name][number], table, metadata)
