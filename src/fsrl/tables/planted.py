"""Tables of planted truth: how much of what was planted each type's rule finds, and under which null."""

from fsrl.tables.core import SCHEME, TYPE, Column, Table

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
NULL_COMPARISON = Table(
    "null_comparison",
    {
        "case": Column("string", "1", "one axis, many axes (planted), or the SAE's id of a real layer"),
        "null": Column("string", "1", "what bounds the types beside isotropic directions, if anything does"),
        "criterion": Column(
            "string",
            "1",
            "planted: those that keep their type, of those that have it by isotropic directions alone; "
            "nothing planted, features, fresh (kind of null): those with a type, of all such",
        ),
        "found": Column("int64", "features", "that meet the criterion"),
        "of": Column("int64", "features", "of so many"),
        "share": Column("float64", "1", "found / of; null where there is none", nullable=True),
    },
)
