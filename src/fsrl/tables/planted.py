"""Tables of planted truth: how much of what was planted each type's rule finds, and under which null."""

from fsrl.tables.core import SCHEME, TYPE, Column, Table

_STRENGTH = Column("float64", "standard deviations within the groups", "strength of every planted feature")
_PLANTED_SHARE = Column("float64", "1", "share of the features that is planted, of each type")
_TWO_SIDED = Column("int64", "features", "planted with this type and labelled two_sided, a miss")
_PRECISION, _RECALL = "correct / labelled; null where none is", "correct / planted; null where none is"
_LOW, _HIGH = "low end of its 95 % interval (Wilson)", "high end of it"


def _rate(name: str, meaning: str, *, nullable: bool) -> dict[str, Column]:
    """Columns of a share and its interval."""
    meanings = {name: meaning, f"{name}_low": _LOW, f"{name}_high": _HIGH}
    return {key: Column("float64", "1", said, nullable=nullable) for key, said in meanings.items()}


RECOVERY = Table(
    "recovery",
    {
        "scheme": SCHEME,
        "type": TYPE,
        "planted_share": _PLANTED_SHARE,
        "strength": _STRENGTH,
        "population": Column(
            "string",
            "1",
            "all; even: without partitions of less than a quarter of the vocabulary; clear: nothing planted, "
            "and those of which a perfect plant would have its type",
        ),
        "planted": Column("int64", "features", "planted with this type"),
        "labelled": Column("int64", "features", "with this type as primary label"),
        "correct": Column("int64", "features", "planted with it and labelled so"),
        "by_chance": Column("int64", "features", "labelled so though nothing was planted"),
        "two_sided": _TWO_SIDED,
        **_rate("precision", _PRECISION, nullable=True),
        **_rate("recall", _RECALL, nullable=True),
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
        "planted_share": _PLANTED_SHARE,
        "tokens": Column("int32", "tokens", "size of the planted set"),
        "share": Column("float64", "1", "the set's share of the vocabulary"),
        "strength": _STRENGTH,
        "planted": Column("int64", "features", "planted with this type, size and strength"),
        "clear": Column("bool", "1", "perfect plants of this kind would have the type"),
        "two_sided": _TWO_SIDED,
        **_rate("recall", "share of them with the type as primary label", nullable=False),
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
