"""Tables of what lies beside features: nearest directions, null ones' logit weights, contexts of a text."""

from fsrl.tables.core import FEATURE, NULL_KIND, Column, Table

NEIGHBOURS = Table(
    "neighbours",
    {
        "feature": FEATURE,
        "sae": Column("string", "1", "the neighbour's SAE: this one, or another of the study"),
        "rank": Column("int32", "1", "0 is the nearest; of another SAE the nearest alone"),
        "neighbour": Column("int32", "1", "row of that SAE's decoder"),
        "cosine": Column("float32", "1", "between the two rows; null where a row is 0", nullable=True),
    },
)
NULL_SHAPES = Table(
    "null_shapes",
    {
        "kind": NULL_KIND,
        "draws": Column("int64", "1", "directions of this kind, whose logit weights are counted together"),
        "underflow": Column("int64", "tokens", "below a direction's mean - 8 std"),
        "counts": Column("list<int64>", "tokens", "in each bin, as in the table histograms"),
        "overflow": Column("int64", "tokens", "at or above its mean + 8 std"),
    },
)
CONTEXTS = Table(
    "contexts",
    {
        "feature": FEATURE,
        "rank": Column("int32", "1", "0 is the context in which the feature is most active"),
        "context": Column("int32", "1", "number of the window of the text"),
        "position": Column(
            "int32", "tokens", "where in the window it is most active, its first token being 0"
        ),
        "activation": Column("float32", "residual units", "activation there"),
        "peak": Column("int32", "tokens", "that place among token_ids"),
        "token_ids": Column("list<int64>", "1", "the tokens around it"),
        "shares": Column("list<int64>", "1 / 100", "activation at each of them, of the greatest"),
    },
)
