"""Tables of feature types: labels, counts beside those of chance, and what each bound comes to."""

from fsrl.tables.core import (
    EXPECTED,
    FEATURE,
    LABEL,
    LABELLED,
    MEMBERS,
    NULL_KIND,
    SCHEME,
    TYPE,
    Column,
    Table,
)

TYPES = Table(
    "types",
    {
        "feature": FEATURE,
        "scheme": SCHEME,
        "local_context": Column("bool", "1", "meets the scheme's rule for local_context"),
        "partition": Column("bool", "1", "meets the scheme's rule for partition"),
        "prediction": Column("bool", "1", "meets the scheme's rule for prediction"),
        "suppression": Column("bool", "1", "meets the scheme's rule for suppression"),
        "type": Column("string", "1", "primary label: the first type met, else unclassified or degenerate"),
        "margin": Column(
            "float64",
            "share of features",
            "distance to the nearest bound; negative: what is missing for a type; null if degenerate",
            nullable=True,
        ),
    },
)
TYPE_COUNTS = Table(
    "type_counts",
    {
        "scheme": SCHEME,
        "type": LABEL,
        "features": LABELLED,
        "share": Column("float64", "1", "features / all features"),
        "null_share": Column(
            "float64",
            "1",
            "share of null draws with this primary label; of several kinds the largest",
        ),
        "expected": EXPECTED,
        "members": MEMBERS,
        "member_null_share": Column(
            "float64", "1", "share of null draws that meet the rule; of several kinds the largest"
        ),
    },
)
TYPE_NULL_COUNTS = Table(
    "type_null_counts",
    {
        "scheme": SCHEME,
        "type": LABEL,
        "kind": NULL_KIND,
        "draws": Column("int64", "1", "null directions of this kind"),
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
