"""The tables of explanations: what features are said to do, in which words, and whether tokens agree."""

from fsrl.tables.core import FEATURE, SAE, Column, Table

EXPLANATIONS = Table(
    "explanations",
    {
        "feature": FEATURE,
        "explanations": Column("int32", "explanations", "how many this feature has; one row each"),
        "description": Column("string", "1", "the explanation, text of others: escape it before it is shown"),
        "model": Column("string", "1", "who explained; null where unknown", nullable=True),
        "type": Column("string", "1", "how it was made; null where unknown", nullable=True),
        "source": Column("string", "1", "model/source at Neuronpedia, or local"),
    },
)
_WITH = "whose explanations use the word"
WORDS = Table(
    "words",
    {
        "sae": SAE,
        "type": Column("string", "1", "primary label under the default scheme"),
        "word": Column("string", "1", "in lower case"),
        "circular": Column(
            "bool", "1", "explanations were made from the logit weights, as types are: the test says nothing"
        ),
        "n_type": Column("int64", "features", "of the type, with an explanation"),
        "n_unclassified": Column("int64", "features", "without a type, with an explanation"),
        "k_type": Column("int64", "features", f"of the type, {_WITH}"),
        "k_unclassified": Column("int64", "features", f"without a type, {_WITH}"),
        "clusters_type": Column("int64", "clusters", "of similar decoder rows among n_type: what is tested"),
        "clusters_unclassified": Column("int64", "clusters", "the same of n_unclassified"),
        "yes_type": Column("int64", "clusters", f"of the type, the first feature of {_WITH}"),
        "yes_unclassified": Column("int64", "clusters", f"without a type, the first feature of {_WITH}"),
        "odds_ratio": Column(
            "float64", "1", "of the clusters, with 1 / (clusters) added to each group's shares"
        ),
        "log10_p": Column("float64", "log10", "two-sided p of Fisher's exact test on the clusters"),
        "log10_q": Column(
            "float64", "log10", "Benjamini and Hochberg's q over the study's words, types and layers"
        ),
    },
)
_W_U = Column("string", "1", "processing of the local W_U: folded or raw")
_CENTRED = Column("bool", "1", "each feature's mean over the vocabulary taken off (center_unembed)")
TOKEN_AGREEMENT = Table(
    "token_agreement",
    {
        "sae": SAE,
        "feature": FEATURE,
        "w_u": _W_U,
        "centred": _CENTRED,
        "tokens": Column("int32", "tokens", "published at each end (the shorter of both lists)"),
        "top_overlap": Column("int32", "tokens", "published top tokens that are local ones"),
        "bottom_overlap": Column("int32", "tokens", "published bottom tokens that are local ones"),
        "unknown": Column("int32", "tokens", "published tokens that the vocabulary does not hold"),
        "largest": Column("float64", "logit per activation", "largest published value, without sign"),
        "max_difference": Column(
            "float64", "logit per activation", "largest difference of values, rank by rank"
        ),
        "scale": Column("float64", "1", "least-squares factor from local to published values", nullable=True),
        "histogram_distance": Column(
            "float64",
            "1",
            "half the sum of differences of the shares in the published bins; null where there are none",
            nullable=True,
        ),
    },
)
FITS = Table(
    "fits",
    {
        "sae": SAE,
        "w_u": _W_U,
        "centred": _CENTRED,
        "sampled": Column("int64", "features", "asked for"),
        "features": Column("int64", "features", "of these, with published values"),
        "top_overlap": Column("float64", "1", "mean share of the top tokens that agree", nullable=True),
        "bottom_overlap": Column("float64", "1", "mean share of the bottom tokens", nullable=True),
        "max_difference": Column("float64", "logit per activation", "median over features", nullable=True),
        "scale": Column("float64", "1", "median over features", nullable=True),
        "histogram_distance": Column("float64", "1", "median over features", nullable=True),
        "agreeing": Column("int64", "features", "tokens and values agree (see fsrl.explanations.agreement)"),
        "fits": Column("bool", "1", "more features agree than under other processings, and at least half"),
    },
)
