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
        "error": Column(
            "float64", "1", "standard error of the AUC, or of the log of the odds ratio", nullable=True
        ),
        "reference": Column("float64", "1", "AUC of null directions of the same type", nullable=True),
        "null_kind": Column("string", "1", "the bounding null that says least", nullable=True),
        "units_null": Column("int64", "directions", "of it that have the type; 0: of no null enough"),
        "loosened": Column(
            "float64", "1", "factor on the layer's thresholds of p, for so many to have it", nullable=True
        ),
        "excess": Column("float64", "1", "AUC less its reference", nullable=True),
        "excess_low": Column("float64", "1", "95 % interval of the excess", nullable=True),
        "excess_high": Column("float64", "1", "95 % interval of the excess", nullable=True),
        "excess_error": Column("float64", "1", "its standard error", nullable=True),
        "p": Column(
            "float64", "1", "two-sided; Fisher's for odds ratios, of no excess for AUCs", nullable=True
        ),
        "p_holm": Column("float64", "1", "adjusted over every test of the study and view", nullable=True),
        "verdict": Column(
            "string", "1", "holds, contradicted, undecided, cannot speak (too few), no null, by definition"
        ),
    },
)
CLAIMS_SUMMARY = Table(
    "claims_summary",
    {
        "scheme": SCHEME,
        "claim": Column("string", "1", "name of the claim"),
        "type": Column("string", "1", "the type that it is about"),
        "statement": Column("string", "1", "what is claimed"),
        "test": Column("string", "1", "what is compared"),
        "measure": Column("string", "1", "odds ratio or AUC"),
        "verdict": Column("string", "1", "over all layers"),
        "effect": Column(
            "float64",
            "1",
            "odds ratio (1: none), or AUC less that of null directions of the type (0: none), over the "
            "layers that can speak",
            nullable=True,
        ),
        "low": Column("float64", "1", "95 % interval of the effect", nullable=True),
        "high": Column("float64", "1", "95 % interval of the effect", nullable=True),
        "layers": Column("int64", "SAEs", "that can speak"),
        **{
            name: Column("int64", "SAEs", f"with the verdict: {name.replace('_', ' ')}")
            for name in ("holds", "contradicted", "undecided", "cannot_speak", "no_null", "by_definition")
        },
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
