"""The tables that say what the types are worth: nulls, thresholds, planted truth. See `fsrl.tables`."""

from fsrl.tables.core import (
    EXPECTED,
    FEATURE,
    IMPLIED_TOKENS,
    KURTOSIS,
    LABEL,
    LABELLED,
    MEMBERS,
    NORM,
    NULL_KIND,
    SCHEME,
    SKEWNESS,
    STD,
    TYPE,
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
TYPE_NULL_COUNTS = Table(
    "type_null_counts",
    {
        "scheme": SCHEME,
        "type": LABEL,
        "kind": NULL_KIND,
        "draws": _DRAWS,
        "features": LABELLED,
        "expected": EXPECTED,
        "null_share": Column("float64", "1", "share of this null's draws with this primary label"),
        "members": MEMBERS,
        "member_expected": Column("float64", "features", "member_null_share times the number of features"),
        "member_null_share": Column("float64", "1", "share of this null's draws that meet the rule"),
    },
)
THRESHOLDS = Table(
    "thresholds",
    {
        "scheme": SCHEME,
        "type": TYPE,
        "column": Column("string", "1", "column of the moments table; std is read as std / norm"),
        "word": Column("string", "1", "min (>=), above (>), max (<=) or below (<)"),
        "bound": Column("string", "1", "the bound as the config writes it"),
        "threshold": Column("float64", "as the column", "its value in this layer and view", nullable=True),
        "kind": Column("string", "1", "the null that decided it; null where no null did", nullable=True),
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
_STRENGTH = Column("float64", "standard deviations within the groups", "strength of every planted feature")
_PLANTED_SHARE = Column("float64", "1", "share of the features that is planted, of each type")
RECOVERY = Table(
    "recovery",
    {
        "scheme": SCHEME,
        "type": TYPE,
        "planted_share": _PLANTED_SHARE,
        "strength": _STRENGTH,
        "population": Column(
            "string", "1", "all; clear: none, and those whose perfect moments clear the bounds by the slack"
        ),
        "planted": Column("int64", "features", "planted with this type"),
        "labelled": Column("int64", "features", "with this type as primary label"),
        "correct": Column("int64", "features", "planted with it and labelled so"),
        "by_chance": Column("int64", "features", "labelled so though nothing was planted"),
        "precision": Column("float64", "1", "correct / labelled; null where none is", nullable=True),
        "recall": Column("float64", "1", "correct / planted; null where none is", nullable=True),
        "member_recall": Column(
            "float64", "1", "share of the planted that meets the rule, whatever the label", nullable=True
        ),
    },
)
RECOVERY_BY_SET = Table(
    "recovery_by_set",
    {
        "scheme": SCHEME,
        "type": TYPE,
        "tokens": Column("int32", "tokens", "size of the planted set"),
        "share": Column("float64", "1", "the set's share of the vocabulary"),
        "strength": _STRENGTH,
        "planted": Column("int64", "features", "planted with this type, size and strength"),
        "clear": Column("bool", "1", "their perfect moments clear the bounds by the slack"),
        "recall": Column("float64", "1", "share of them with the type as primary label"),
        "member_recall": Column("float64", "1", "share of them that meets the type's rule"),
        "perfect_skewness": Column("float64", "1", "size of a perfect plant's, closed form"),
        "perfect_kurtosis": Column("float64", "1", "of a perfect plant, in closed form"),
        "skewness": Column("float64", "1", "median size of what the planted directions have"),
        "kurtosis": Column("float64", "1", "median of what the planted directions have"),
    },
)
