"""Weights that several tests of the moments share."""

import math

import torch

# Logit weights (0, 0, 0, 4): mean 1, deviations (-1, -1, -1, 3), variance (1 + 1 + 1 + 9) / 4 = 3,
# third moment (-3 + 27) / 4 = 6, fourth (3 + 81) / 4 = 21.
WORKED = {
    "mean": 1.0,
    "std": math.sqrt(3),
    "skewness": 6 / 3**1.5,
    "kurtosis": 21 / 9,
    "bimodality": (36 / 27 + 1) / (21 / 9),
    "norm": 2.0,
}
SHAPE = ("skewness", "kurtosis", "bimodality")


def worked_matrices(dtype=torch.float64):
    W_dec = torch.tensor([[0.0, 2.0]], dtype=dtype)
    W_U = torch.tensor([[5.0, 6.0, 7.0, 8.0], [0.0, 0.0, 0.0, 2.0]], dtype=dtype)
    return W_dec, W_U


def random_matrices(n=40, d_model=24, d_vocab=2500, seed=0):
    """Float32 weights like a model's: an uncentred W_U with a few long columns, rows of differing norms."""
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.randn(n, d_model, generator=generator) * torch.logspace(-2, 2, n).unsqueeze(1)
    W_U = torch.randn(d_model, d_vocab, generator=generator) * 0.1 + torch.randn(
        d_model, 1, generator=generator
    )
    W_U[:, ::97] *= 4
    return W_dec, W_U
