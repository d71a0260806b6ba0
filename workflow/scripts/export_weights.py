"""A study's model and SAEs -> plain safetensors and the table of its tokens."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from fsrl import hub, tables, token_tables, weights

params, output = snakemake.params, snakemake.output
unembedding = hub.load_unembedding(params.model, counts_path=params.token_counts, study=params.study)
decoders = hub.load_decoders(
    params.saes,
    params.sae_ids,
    d_model=len(unembedding.folded),
    model_name=unembedding.metadata["model"],
    study=params.study,
)
frame = token_tables.tokens_frame(unembedding, min_count=params.min_count)
weights.write_unembedding(unembedding, output.unembedding)
for decoder, path in zip(decoders, output.decoders, strict=True):
    weights.write_decoder(decoder, path)
tables.write(frame, output.tokens, tables.TOKENS, unembedding.metadata)
