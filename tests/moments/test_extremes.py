"""Extreme tokens and histograms against brute force; ties go to the lower token."""

import numpy as np
import pytest
import torch

from fsrl.moments import engine
from fsrl.moments import sweep as moments_sweep
from tests.fixtures.moment_examples import random_matrices, tiles, worked_matrices


@pytest.mark.parametrize("sweep", [moments_sweep.torch_sweep, moments_sweep.sweep_for(torch.device("cpu"))])
@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])  # those that are exact for small integers
def test_extremes_against_brute_force_with_ties_by_token_id(precision, sweep, monkeypatch):
    monkeypatch.setattr(moments_sweep, "sweep_for", lambda device: sweep)
    generator = torch.Generator().manual_seed(0)
    # Small integers with mean 0: many equal logits, exact ones in these precisions.
    W_dec = torch.randint(-2, 3, (30, 3), generator=generator).double()
    W_U = torch.randint(-2, 3, (3, 128), generator=generator).double()
    W_U = torch.cat([W_U, -W_U], dim=1)
    with tiles(16, 37):
        result = engine.logit_moments(W_dec, W_U, precision=precision, n_extremes=40)
    logits = W_dec @ W_U
    for row, weights in enumerate(logits.tolist()):
        top = sorted(range(256), key=lambda token, w=weights: (-w[token], token))[:40]
        bottom = sorted(range(256), key=lambda token, w=weights: (w[token], token))[:40]
        assert result.top_ids[row].tolist() == top
        assert result.bottom_ids[row].tolist() == bottom
        assert result.top_weights[row].tolist() == [weights[token] for token in top]
        assert result.bottom_weights[row].tolist() == [weights[token] for token in bottom]


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_equal_columns_are_ranked_by_token_id_within_and_across_tiles(precision, n):
    """A product may add up its last columns in another order than the rest."""
    W_dec, W_U = random_matrices(n=n)
    copies = [2499, *range(480, 530), 1023, 1024, 5, 255]
    W_U[:, copies] = W_U[:, 97:98] * 20
    result = engine.logit_moments(W_dec, W_U, precision=precision, n_extremes=2500)
    for ranking in [*result.top_ids.tolist(), *result.bottom_ids.tolist()]:
        assert [token for token in ranking if token in copies] == sorted(copies)


def test_histogram_against_brute_force():
    W_dec, W_U = random_matrices(n=20)
    W_U[:, 3] *= 500  # one token far beyond 8 std, on either side
    W_dec[1] = -W_dec[0]
    result = engine.logit_moments(W_dec, W_U, precision="fp64", n_bins=31)
    logits = (W_dec.double() @ W_U.double()).numpy()
    for row, weights in enumerate(logits):
        mean, std = weights.mean(), weights.std()
        edges = np.linspace(mean - 8 * std, mean + 8 * std, 32)
        assert result.counts[row].tolist() == np.histogram(weights, edges)[0].tolist()
        assert result.underflow[row].item() == (weights < edges[0]).sum()
        assert result.overflow[row].item() == (weights >= edges[-1]).sum()
    assert (result.underflow[:2] + result.overflow[:2]).tolist() == [1, 1]
    assert result.underflow[0] == result.overflow[1]


def test_more_extremes_than_tokens_are_clipped():
    result = engine.logit_moments(*worked_matrices(), n_extremes=10)
    assert result.top_ids.tolist() == [[3, 0, 1, 2]]
    assert result.bottom_ids.tolist() == [[0, 1, 2, 3]]
