"""Tables of the published claims: every test, and how bimodal partition features are."""

from fsrl.tables.core import FEATURE, SAE, SCHEME, Column, Table

_VALUE = "share of clusters whose first feature says yes, or median over these features, of the "
CLAIMS_TABLE = Table(
    "claims",
    {
        "scheme": SCHEME,
        "claim": Column("string", "1", "name of the claim"),
        "type": Column("string", "1", "the type that it is about"),
        "statement": Column("string", "1", "what is claimed"),
        "test": Column("string", "1", "what is compared"),
        "sae": SAE,
        "n_type": Column("int64", "features", "of the type"),
        "n_other": Column("int64", "features", "unclassified, or in the matched sample"),
        "units_type": Column(
            "int64", "clusters", "of similar decoder rows among the former: what is counted"
        ),
        "units_other": Column("int64", "clusters", "of similar decoder rows among the latter"),
        "measure": Column("string", "1", "odds ratio or AUC"),
        "value_type": Column("float64", "1", _VALUE + "type", nullable=True),
        "value_other": Column("float64", "1", _VALUE + "others", nullable=True),
        "effect": Column("float64", "1", "odds ratio (1: none) or AUC (.5: none)", nullable=True),
        "low": Column("float64", "1", "95 % interval of the effect", nullable=True),
        "high": Column("float64", "1", "95 % interval of the effect", nullable=True),
        "p": Column("float64", "1", "two-sided; Fisher's for odds ratios, Mann and Whitney's", nullable=True),
        "p_holm": Column("float64", "1", "adjusted over every test of the study and view", nullable=True),
        "verdict": Column(
            "string", "1", "holds, contradicted, undecided, cannot speak (too few), by definition"
        ),
    },
)
DIPS = Table(
    "dips",
    {
        "sae": SAE,
        "feature": FEATURE,
        "sample": Column(
            "string", "1", "partition (under some scheme), or matched to one of these in std / norm"
        ),
        "dip": Column("float64", "1", "dip statistic of the logit weights"),
        "null_quantile": Column("float64", "1", "share of null directions with a smaller dip"),
    },
)
