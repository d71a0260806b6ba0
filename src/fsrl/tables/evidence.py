"""The tables that say what the types are worth: nulls, thresholds, planted truth. See `fsrl.tables`."""

from fsrl.tables.core import (
    FEATURE,
    IMPLIED_TOKENS,
    KURTOSIS,
    NORM,
    NULL_KIND,
    SKEWNESS,
    STD,
    Column,
    Table,
)

_DRAWS = Column("int64", "1", "null directions of this kind")
NULL_QUANTILES = Table(
    "null_quantiles",
    {
        "kind": NULL_KIND,
        "draws": _DRAWS,
        "column": Column("string", "1", "std (as std / norm), skewness or kurtosis"),
        "level": Column("float64", "1", "quantile, 0 to 1"),
        "value": Column("float64", "as the column", "the quantile of the draws"),
        "error": Column("float64", "as the column", "Monte Carlo standard deviation of value"),
    },
)
PLANTED = Table(
    "planted",
    {
        "feature": FEATURE,
        "type": Column("string", "1", "what was planted: a type, or none"),
        "set": Column("string", "1", "name of the token set; none"),
        "tokens": Column("int32", "tokens", "size of the set"),
        "share": Column("float64", "1", "the set's share of the vocabulary"),
        "strength": Column(
            "float64",
            "standard deviations within the groups",
            "how far the set's mean logit weight lies from the other tokens'; null for none",
            nullable=True,
        ),
        "eta2": Column("float64", "1", "share of the variance of the logit weights that the set explains"),
        "perfect_skewness": Column("float64", "1", "of a perfect plant, in closed form"),
        "perfect_kurtosis": Column("float64", "1", "of a perfect plant, in closed form"),
        "perfect_implied_tokens": Column(
            "float64", "tokens", "from the perfect skewness and kurtosis", nullable=True
        ),
        "std": STD,
        "norm": NORM,
        "skewness": SKEWNESS,
        "kurtosis": KURTOSIS,
        "implied_tokens": IMPLIED_TOKENS,
    },
)
