"""Tables of feature types: labels, how far tails are beyond chance, counts beside those of chance, bounds."""

from fsrl.names import BOUNDING, TAILS
from fsrl.names import TYPES as TYPE_NAMES
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
        **{name: Column("bool", "1", f"meets the scheme's rule for {name}") for name in sorted(TYPE_NAMES)},
        "spike": Column(
            "bool",
            "1",
            "suppression by few tokens (else a group); null where it is no suppression",
            nullable=True,
        ),
        "type": Column("string", "1", "primary label: the first type met, else unclassified or degenerate"),
        "evidence": Column(
            "float64",
            "distance from the null's median to its 0.999 quantile",
            "the largest over the label's tails (unclassified: over all); null where a scheme reads no tails",
            nullable=True,
        ),
    },
)


def _tail_columns(tail: str) -> dict[str, Column]:
    where = f"of the tail {tail}: {TAILS[tail]}"
    columns = {
        f"p_{tail}": Column(
            "float64",
            "1",
            f"{where}; the largest over the bounding nulls; null where constant",
            nullable=True,
        ),
        f"q_{tail}": Column("float64", "1", f"Benjamini-Hochberg over the layer, {where}", nullable=True),
        f"evidence_{tail}": Column(
            "float64",
            "distance from the null's median to its 0.999 quantile",
            f"the smallest over the bounding nulls, {where}",
            nullable=True,
        ),
    }
    for kind in BOUNDING:
        columns[f"p_{tail}_{kind}"] = Column(
            "float64", "1", f"share of {kind} directions beyond, {where}; null where not run", nullable=True
        )
    return columns


TAIL_TABLE = Table(
    "tails",
    {
        "feature": FEATURE,
        **{name: column for tail in TAILS for name, column in _tail_columns(tail).items()},
    },
)
TAIL_CALIBRATION = Table(
    "tail_calibration",
    {
        "kind": NULL_KIND,
        "tail": Column("string", "1", "; ".join(f"{tail}: {words}" for tail, words in TAILS.items())),
        "level": Column("float64", "1", "p"),
        "draws": Column("int64", "1", "fresh null directions of this kind, judged against the kind alone"),
        "beyond": Column("int64", "1", "how many of them have this p or less"),
        "share": Column("float64", "1", "beyond / draws; level, where p says what it promises"),
        "low": Column("float64", "1", "lower end of the exact 95 % interval of share"),
        "high": Column("float64", "1", "upper end of it"),
    },
)
TYPE_COUNTS = Table(
    "type_counts",
    {
        "scheme": SCHEME,
        "type": LABEL,
        "features": LABELLED,
        "share": Column("float64", "1", "features / all features"),
        "low": Column(
            "float64",
            "features",
            "2.5 % quantile of the count over draws of clusters of near copies and of null directions",
        ),
        "high": Column("float64", "features", "97.5 % quantile of the same"),
        "null_share": Column(
            "float64",
            "1",
            "share of fresh null draws with this primary label; of the bounding kinds the largest",
        ),
        "expected": EXPECTED,
        "expected_at_bounds": Column(
            "float64",
            "features",
            "share of fresh null draws with this label by the layer's own thresholds, the largest of the "
            "bounding kinds, times the number of features",
        ),
        "members": MEMBERS,
        "member_null_share": Column(
            "float64", "1", "share of fresh null draws that meet the rule; of the bounding kinds the largest"
        ),
    },
)
TYPE_NULL_COUNTS = Table(
    "type_null_counts",
    {
        "scheme": SCHEME,
        "type": LABEL,
        "kind": NULL_KIND,
        "draws": Column(
            "int64", "1", "fresh null directions of this kind, which set no bound, in sets of a layer's size"
        ),
        "features": LABELLED,
        "expected": EXPECTED,
        "expected_at_bounds": Column(
            "float64", "features", "the same by the layer's own thresholds, not those of each set"
        ),
        "null_share": Column("float64", "1", "share of this null's draws with this primary label"),
        "members": MEMBERS,
        "member_expected": Column("float64", "features", "member_null_share times the number of features"),
        "member_null_share": Column("float64", "1", "share of this null's draws that meet the rule"),
    },
)
CLUSTERS = Table(
    "clusters",
    {
        "feature": FEATURE,
        "cluster": Column(
            "int64", "1", "number of its cluster: rows linked by a cosine above the threshold in the metadata"
        ),
    },
)
THRESHOLDS = Table(
    "thresholds",
    {
        "scheme": SCHEME,
        "type": TYPE,
        "column": Column("string", "1", "column of the moments table; std is read as std / norm"),
        "word": Column("string", "1", "min (>=), above (>), max (<=) or below (<)"),
        "bound": Column(
            "string",
            "1",
            "the bound as the config writes it; q<=0.05: of a tail, of which any of the type's does",
        ),
        "threshold": Column("float64", "as the column", "its value in this layer and view", nullable=True),
        "kind": Column("string", "1", "the null that decided it; null where no null did", nullable=True),
    },
)
