"""t and eta^2 without p, against the module that has p as well, and against the vocabulary written out."""

import numpy as np
import pytest
import torch

from fsrl.enrichment import statistics
from fsrl.enrichment.covariance import layer_covariance
from fsrl.enrichment.effect_sizes import t_and_eta2


def example(seed=0):
    generator = torch.Generator().manual_seed(seed)
    W_U = torch.randn(6, 300, generator=generator) + torch.arange(6)[:, None]
    W_dec = torch.randn(50, 6, generator=generator)
    sets = torch.zeros(2, 300, dtype=torch.bool)
    sets[0, :20], sets[1, 100:250] = True, True
    return W_dec, W_U, sets


def test_they_are_those_of_the_test():
    W_dec, W_U, sets = example()
    t, eta2 = t_and_eta2(W_dec, W_U, sets, layer_covariance(W_dec))
    known = statistics.set_statistics(W_dec, W_U, sets)
    np.testing.assert_allclose(t, known.t, rtol=1e-4)
    np.testing.assert_allclose(eta2, known.eta2, rtol=1e-4)


def test_eta2_is_the_variance_between_the_set_and_the_rest():
    W_dec, W_U, sets = example(1)
    rows = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    _, eta2 = t_and_eta2(rows, W_U, sets, layer_covariance(W_dec))
    w = (rows @ W_U).double().numpy()
    for number, members in enumerate(sets.numpy()):
        means = np.where(members, w[:, members].mean(1)[:, None], w[:, ~members].mean(1)[:, None])
        assert eta2[:, number] == pytest.approx(means.var(1) / w.var(1), rel=1e-4)


def test_the_length_of_a_row_does_not_matter_and_its_sign_turns_t():
    W_dec, W_U, sets = example()
    rows = W_dec[:4]
    t, eta2 = t_and_eta2(rows, W_U, sets, layer_covariance(W_dec))
    turned, same = t_and_eta2(-3 * rows, W_U, sets, layer_covariance(W_dec))
    np.testing.assert_allclose(turned, -t, rtol=1e-5)
    np.testing.assert_allclose(same, eta2, rtol=1e-5)


def test_a_row_of_zeros_is_unknown():
    W_dec, W_U, sets = example()
    t, eta2 = t_and_eta2(torch.zeros(1, 6), W_U, sets, layer_covariance(W_dec))
    assert np.isnan(t).all() and np.isnan(eta2).all()
