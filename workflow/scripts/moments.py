"""Moments, extreme tokens and histograms of one layer's logit weights, in all views of its study."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import moment_tables, moments_views, provenance, quantiles, tables, weights

given, params, output = snakemake.input, snakemake.params, snakemake.output
unembedding = weights.read_unembedding(given.unembedding)
decoder = weights.read_decoder(given.decoder)
found = moments_views.decoder_moments(decoder, unembedding, params.views, **params.settings)
for number, (view, (result, token_ids)) in enumerate(found.items()):
    kappa0 = quantiles.quantile(tables.read(given.nulls[number], tables.NULL), "kurtosis", 0.5)
    metadata = provenance.of(unembedding, decoder, view=params.views[view], **params.settings)
    frames = {
        "moments": (moment_tables.moments_frame(result, decoder, kappa0), tables.MOMENTS),
        "extremes": (moment_tables.extremes_frame(result, unembedding.tokens, token_ids), tables.EXTREMES),
        "histograms": (moment_tables.histogram_frame(result), tables.HISTOGRAMS),
    }
    for name, (frame, table) in frames.items():
        tables.write(frame, output[name][number], table, metadata)
