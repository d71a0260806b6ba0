"""Tables of what lies beside features: the nearest directions, and the spread of null ones' logit weights."""

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
