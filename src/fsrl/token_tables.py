"""The table of a model's tokens."""

import numpy as np
import pandas as pd

from fsrl import token_text
from fsrl.weights import Unembedding, trained_tokens


def tokens_frame(unembedding: Unembedding, *, min_count: int) -> pd.DataFrame:
    """The table `tokens`, one row per row of the vocabulary.

    text: the decoded token, with U+FFFD for bytes that are no whole character; count: null, and trained true
    throughout, where the training counts are unknown (no view can then leave a token out).
    """
    d_vocab = len(unembedding.tokens)
    counts = pd.Series([pd.NA] * d_vocab, dtype="Int64")
    trained = np.ones(d_vocab, dtype=bool)
    if unembedding.counts is not None:
        counts = pd.Series(unembedding.counts.numpy(), dtype="Int64")
        trained = trained_tokens(unembedding, min_count).numpy()
    return pd.DataFrame(
        {
            "token_id": np.arange(d_vocab, dtype=np.int32),
            "token": pd.Series(unembedding.tokens, dtype="str"),
            "text": pd.Series([_printable(token) for token in unembedding.tokens], dtype="str"),
            "count": counts,
            "trained": trained,
        }
    )


def _printable(token: str) -> str:
    # token_text marks stray bytes as lone surrogates, which UTF-8 (and so Parquet) cannot hold.
    return token_text.decode(token).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
