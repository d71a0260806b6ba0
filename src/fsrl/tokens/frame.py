"""The table of a model's tokens."""

import numpy as np
import pandas as pd

from fsrl.tokens import text as token_text
from fsrl.weights.matrices import Unembedding


def tokens_frame(unembedding: Unembedding) -> pd.DataFrame:
    """The table `tokens`, one row (and label of the index) per token; rows of W_U without a token are left
    out.

    text: the decoded token, with U+FFFD for bytes that are no whole character; count and trained
    are null where they are unknown.
    """
    d_vocab = len(unembedding.tokens)
    counts = pd.Series([pd.NA] * d_vocab, dtype="Int64")
    trained = pd.Series([pd.NA] * d_vocab, dtype="boolean")
    if unembedding.trained is not None:
        trained = pd.Series(unembedding.trained.numpy(), dtype="boolean")
    if unembedding.counts is not None:
        counts = pd.Series(unembedding.counts.numpy(), dtype="Int64")
    frame = pd.DataFrame(
        {
            "token_id": np.arange(d_vocab, dtype=np.int32),
            "token": pd.Series(unembedding.tokens, dtype="str"),
            "text": pd.Series([_printable(token) for token in unembedding.tokens], dtype="str"),
            "count": counts,
            "trained": trained,
        }
    )
    return frame if unembedding.owned is None else frame[unembedding.owned.numpy()]


def _printable(token: str) -> str:
    # token_text marks stray bytes as lone surrogates, which UTF-8 (and so Parquet) cannot hold.
    return token_text.decode(token).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def token_sets_frame(sets: pd.DataFrame) -> pd.DataFrame:
    """The frame of `fsrl.tokens.sets.token_sets` as the table `token_sets` holds it."""
    frame = sets.reset_index(drop=True)
    frame.insert(0, "token_id", np.arange(len(frame), dtype=np.int32))
    return frame
