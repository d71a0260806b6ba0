"""Tables of moments: of features and of null directions, their extreme tokens and histograms."""

from fsrl.tables.core import (
    BIMODALITY,
    FEATURE,
    IMPLIED_TOKENS,
    KURTOSIS,
    MEAN,
    NORM,
    NULL_KIND,
    SKEWNESS,
    STD,
    TOKEN,
    TOKEN_ID,
    Column,
    Table,
)

_MOMENTS = {
    "mean": MEAN,
    "std": STD,
    "skewness": SKEWNESS,
    "kurtosis": KURTOSIS,
    "bimodality": BIMODALITY,
    "implied_tokens": IMPLIED_TOKENS,
    "norm": NORM,
}
MOMENTS = Table(
    "moments",
    {
        "feature": FEATURE,
        **_MOMENTS,
        "log10_density": Column("float32", "log10", "log10 share of tokens on which it fires", nullable=True),
        "alive": Column("bool", "1", "log10_density >= -9; null where unknown", nullable=True),
    },
)
EXTREMES = Table(
    "extremes",
    {
        "feature": FEATURE,
        "side": Column("string", "1", "top (most promoted) or bottom (most suppressed)"),
        "rank": Column("int32", "1", "0 is the most extreme; ties go to the lower token_id"),
        "token_id": TOKEN_ID,
        "token": TOKEN,
        "weight": Column("float64", "logit per activation", "logit weight of this token"),
    },
)
HISTOGRAMS = Table(
    "histograms",
    {
        "feature": FEATURE,
        "underflow": Column("int64", "tokens", "below mean - 8 std"),
        "counts": Column(
            "list<int64>", "tokens", "equal bins from mean - 8 std to mean + 8 std, [low, high)"
        ),
        "overflow": Column("int64", "tokens", "at or above mean + 8 std"),
    },
)
NULL = Table(
    "null",
    {
        "kind": NULL_KIND,
        "draw": Column("int32", "1", "number of the draw, from 0 in each kind"),
        **_MOMENTS,
    },
)
