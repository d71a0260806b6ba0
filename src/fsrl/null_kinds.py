"""The kinds of null directions, by name. Imports nothing: the rule language reads them too."""

# Kind -> what its directions are, as the tables and figures say it.
KINDS = {
    "isotropic": "uniform on the unit sphere",
    "second_moment": "Gaussian with the decoder rows' second moment",
    "sign_flip": "decoder rows with random signs of their coordinates in W_U's PCA basis",
    "activations": "Gaussian with the covariance of the layer's activations",
}
# One table of them serves all layers of a model; the others need the layer's decoder.
SHARED = "isotropic"
