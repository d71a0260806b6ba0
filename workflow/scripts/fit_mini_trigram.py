"""The yardstick: a Kneser-Ney trigram of the training stream, on the held-out stream."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import json
from pathlib import Path

import numpy as np

from fsrl.mini import ngram as mini_ngram

train, held_out = (np.fromfile(snakemake.input[name], dtype=np.uint16) for name in ("train", "held_out"))
nats = mini_ngram.Trigram(train, snakemake.params.d_vocab).nats_per_token(held_out)
numbers = {"trigram_nats_per_token": nats, "train_tokens": len(train), "held_out_tokens": len(held_out)}
Path(snakemake.output[0]).write_text(json.dumps(numbers, indent=2) + "\n")
