"""Extreme tokens and histograms against brute force; ties go to the lower token."""

import numpy as np
import pytest
import torch

from fsrl import moments
from tests.unit.moment_examples import random_matrices, worked_matrices


def test_extremes_against_brute_force_with_ties_by_token_id(monkeypatch):
    monkeypatch.setattr(moments, "TOKENS_PER_TILE", 37)
    generator = torch.Generator().manual_seed(0)
    # Small integers and 2^8 tokens: many equal logits, exact ones even after centring.
    W_dec = torch.randint(-2, 3, (30, 3), generator=generator).double()
    W_U = torch.randint(-2, 3, (3, 256), generator=generator).double()
    result = moments.logit_moments(W_dec, W_U, precision="fp64", n_extremes=40)
    logits = W_dec @ W_U
    for row, weights in enumerate(logits.tolist()):
        top = sorted(range(256), key=lambda token, w=weights: (-w[token], token))[:40]
        bottom = sorted(range(256), key=lambda token, w=weights: (w[token], token))[:40]
        assert result.top_ids[row].tolist() == top
        assert result.bottom_ids[row].tolist() == bottom
        assert result.top_weights[row].tolist() == pytest.approx([weights[t] for t in top], abs=1e-12)
        assert result.bottom_weights[row].tolist() == pytest.approx([weights[t] for t in bottom], abs=1e-12)


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_equal_columns_are_ranked_by_token_id_across_tiles(precision):
    W_dec, W_U = random_matrices(n=8)
    longest = W_U[:, 97:98] * 20
    copies = [2400, 1023, 1024, 5]
    W_U[:, copies] = longest
    result = moments.logit_moments(W_dec, W_U, precision=precision, n_extremes=4)
    for row in range(8):
        assert sorted(copies) in (result.top_ids[row].tolist(), result.bottom_ids[row].tolist())


def test_histogram_against_brute_force():
    W_dec, W_U = random_matrices(n=20)
    W_U[:, 3] *= 500  # one token far beyond 8 std, on either side
    W_dec[1] = -W_dec[0]
    result = moments.logit_moments(W_dec, W_U, precision="fp64", n_bins=31)
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
    result = moments.logit_moments(*worked_matrices(), n_extremes=10)
    assert result.top_ids.tolist() == [[3, 0, 1, 2]]
    assert result.bottom_ids.tolist() == [[0, 1, 2, 3]]
