"""Passages -> tokenizer, token streams, token counts, and the evaluation text that ships."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

from pathlib import Path

import pandas as pd

from fsrl.mini import corpus as mini_corpus
from fsrl.mini import tokens as mini_tokens

settings, output = snakemake.params.settings, snakemake.output
corpus = pd.read_parquet(snakemake.input.corpus)
folder = Path(output.tokenizer[0]).parent
mini_tokens.train_tokenizer(
    corpus, folder, d_vocab=settings["d_vocab"], max_mb_per_source=settings["tokenizer_mb_per_source"]
)
training = mini_tokens.shuffled(corpus[~corpus["held_out"]], settings["seed"])
stream, owners = mini_tokens.encode(training, folder)
stream.tofile(output.train)
mini_tokens.encode(corpus[corpus["held_out"]], folder)[0].tofile(output.held_out)
mini_tokens.write_counts(stream, settings["d_vocab"], Path(output.counts))
tokens, packages = mini_tokens.vocabulary(folder), sorted(set(training["package"]))
odd = mini_tokens.odd_tokens(
    stream, owners, packages, tokens, common=settings["common"], share=settings["odd_share"]
)
odd.to_csv(output.odd, sep="\t", index=False, float_format="%.3f")
text = mini_corpus.evaluation_text(
    corpus, pd.read_csv(snakemake.input.provenance, sep="\t"), settings["evaluation_bytes"]
)
Path(output.evaluation_text).write_text(text, encoding="utf-8")
