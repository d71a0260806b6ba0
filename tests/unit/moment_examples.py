"""Weights, and ways to compare, that several tests of the moments share."""

import math
from contextlib import AbstractContextManager
from dataclasses import fields
from unittest import mock

import torch

from fsrl.moments import engine
from fsrl.moments import plan as moments_plan

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


def varied_matrices(d_vocab=3000, seed=0):
    """Float64 directions with heavy-tailed, two-level, skewed and Gaussian logits, and mixtures of these."""
    generator = torch.Generator().manual_seed(seed)
    W_U = 0.1 * torch.randn(16, d_vocab, dtype=torch.float64, generator=generator)
    W_U[0, torch.randperm(d_vocab, generator=generator)[:12]] += 2.5
    W_U[1] += torch.where(torch.rand(d_vocab, generator=generator) < 0.4, 1.0, -1.0)
    W_U[2] = 0.2 * torch.randn(d_vocab, dtype=torch.float64, generator=generator).exp()
    W_dec = torch.randn(24, 16, dtype=torch.float64, generator=generator)
    W_dec[:4] = torch.eye(4, 16, dtype=torch.float64)
    return W_dec, W_U


def planted_matrices(n=96, d_model=768, d_vocab=5000, seed=0):
    """Float32 weights of a language model's width: a third of the rows heavy-tailed, a third two-level."""
    generator = torch.Generator().manual_seed(seed)
    W_U = 0.1 * torch.randn(d_model, d_vocab, generator=generator)
    W_U *= 0.5 + torch.rand(d_vocab, generator=generator)
    W_dec = torch.randn(n, d_model, generator=generator)
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    for row in W_dec[: n // 3]:
        W_U[:, torch.randperm(d_vocab, generator=generator)[:10]] += 2.5 * row.unsqueeze(1)
    for row in W_dec[n // 3 : 2 * n // 3]:
        W_U += 0.2 * row.unsqueeze(1) * torch.where(torch.rand(d_vocab, generator=generator) < 0.4, 1.0, -1.0)
    return W_dec, W_U


def tiles(features: int, tokens: int) -> AbstractContextManager:
    """Within it, the pass is cut into tiles of this shape whatever the cache."""
    return mock.patch.object(moments_plan, "tile_shape", lambda cache, item_bytes: (features, tokens))


def assert_same_bytes(result, expected):
    for field in fields(engine.LogitMoments):
        if field.name != "d_vocab":
            ours, theirs = getattr(result, field.name), getattr(expected, field.name)
            assert ours.numpy().tobytes() == theirs.numpy().tobytes(), field.name
