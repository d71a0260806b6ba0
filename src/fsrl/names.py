"""Names that tables, rules and figures share: feature types, tails, null directions. Imports nothing.

Types are in order of precedence: a feature's primary label is the first type whose rule it meets, else
`unclassified`; `degenerate` where there is no shape to read (a constant row of logit weights). Schemes of the
rule language keep an order of their own (`fsrl.types.rules.ORDER`).
"""

TYPES = ("partition", "two_sided", "local_context", "prediction", "suppression")
UNCLASSIFIED, DEGENERATE = "unclassified", "degenerate"
LABELS = (*TYPES, UNCLASSIFIED, DEGENERATE)

# Tail -> what lies far out in it, as the tables and figures say it.
TAILS = {
    "right": "large skewness",
    "left": "large -skewness",
    "right_kurtosis": "large right_kurtosis",
    "left_kurtosis": "large left_kurtosis",
    "heavy": "large kurtosis",
    "flat": "small kurtosis",
    "right_eighth": "large right_eighth: few tokens, far out",
    "left_eighth": "large left_eighth",
}
# Tails of the few tokens that lie farthest out, on either side.
SPIKES = ("right_eighth", "left_eighth")

# Kind of null -> what its directions are, as the tables and figures say it.
KINDS = {
    "isotropic": "uniform on the unit sphere",
    "second_moment": "Gaussian with the decoder rows' second moment",
    "spectrum": "Gaussian with the decoder rows' mean spectrum along W_U's principal axes",
    "sign_flip": "decoder rows with random signs of their coordinates in W_U's PCA basis",
}
# One table of them serves all layers of a model; the others need the layer's decoder.
SHARED = "isotropic"
# Of those the kinds that are drawn; sign_flip is compared with them (`fsrl.claims.null_comparison`).
OF_WEIGHTS = ("second_moment", "spectrum")
# The kinds that decide what chance does not give; the others are described beside them.
BOUNDING = (SHARED, "spectrum")


def type_label(name: str) -> str:
    """A type's name as it is printed: "local context", "two-sided"."""
    return "two-sided" if name == "two_sided" else name.replace("_", " ")
