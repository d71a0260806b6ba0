"""Names that tables, rules and figures share: feature types, and kinds of null directions. Imports nothing.

Types are in order of precedence: a feature's primary label is the first type whose rule it meets, else
`unclassified`; `degenerate` where there is no shape to read (a constant row of logit weights).
"""

TYPES = ("local_context", "prediction", "suppression", "partition")
UNCLASSIFIED, DEGENERATE = "unclassified", "degenerate"
LABELS = (*TYPES, UNCLASSIFIED, DEGENERATE)

# Kind of null -> what its directions are, as the tables and figures say it.
KINDS = {
    "isotropic": "uniform on the unit sphere",
    "second_moment": "Gaussian with the decoder rows' second moment",
    "sign_flip": "decoder rows with random signs of their coordinates in W_U's PCA basis",
    "activations": "Gaussian with the covariance of the layer's activations",
}
# One table of them serves all layers of a model; the others need the layer's decoder.
SHARED = "isotropic"
# Of those the kinds that need the layer's decoder and no text.
OF_WEIGHTS = ("second_moment", "sign_flip")


def type_label(name: str) -> str:
    """A type's name as it is printed: "local context"."""
    return name.replace("_", " ")
