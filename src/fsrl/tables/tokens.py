"""The table of a model's vocabulary."""

from fsrl.tables.core import TOKEN, TOKEN_ID, Column, Table

TOKENS = Table(
    "tokens",
    {
        "token_id": TOKEN_ID,
        "token": TOKEN,
        "text": Column("string", "1", "token as decoded text"),
        "count": Column("int64", "tokens", "occurrences in the training text", nullable=True),
        "trained": Column("bool", "1", "kept when a view leaves undertrained tokens out", nullable=True),
    },
)
