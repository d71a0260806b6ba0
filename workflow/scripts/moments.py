"""Moments, extreme tokens and histograms of one layer's logit weights in one view."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import moment_tables, moments, provenance, quantiles, tables, weights

params, output = snakemake.params, snakemake.output
unembedding = weights.read_unembedding(snakemake.input.unembedding)
decoder = weights.read_decoder(snakemake.input.decoder)
kappa0 = quantiles.quantile(tables.read(snakemake.input.null, tables.NULL), "kurtosis", 0.5)
view = weights.view(decoder, unembedding, **params.view)
result = moments.logit_moments(view.W_dec, view.W_U, **params.settings)
metadata = provenance.of(unembedding, decoder, view=params.view, **params.settings)
frames = {
    "moments": (moment_tables.moments_frame(result, decoder, kappa0), tables.MOMENTS),
    "extremes": (moment_tables.extremes_frame(result, unembedding.tokens, view.token_ids), tables.EXTREMES),
    "histograms": (moment_tables.histogram_frame(result), tables.HISTOGRAMS),
}
for name, (frame, table) in frames.items():
    tables.write(frame, output[name], table, metadata)
