"""The covariance that t is aware of: against the plain second moment, Tyler's fixed point, its own roots."""

import numpy as np
import pytest
import torch

from fsrl.enrichment import covariance as enrichment_covariance
from fsrl.enrichment import statistics as enrichment
from fsrl.errors import FsrlError
from tests.fixtures.enrichment_examples import as_matrix, random_case


def second_moment(W_dec, shrinkage):
    """The plain second moment of rows of length 1, shrunk; the twin of C without Tyler's steps."""
    rows = W_dec.double().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    C = rows.T @ rows / len(rows)
    return (1 - shrinkage) * C + shrinkage * np.trace(C) / len(C) * np.eye(len(C))


def test_covariance_without_steps_is_the_shrunk_second_moment():
    W_dec, _, _ = random_case()
    for shrinkage in (0.0, 0.3, 1.0):
        C = as_matrix(enrichment_covariance.layer_covariance(W_dec, shrinkage=shrinkage, steps=0))
        np.testing.assert_allclose(C, second_moment(W_dec, shrinkage), rtol=1e-10, atol=1e-12)


def test_covariance_reaches_tylers_fixed_point():
    W_dec, _, _ = random_case(n=300)
    covariance = enrichment_covariance.layer_covariance(W_dec, shrinkage=0.0, steps=60)
    C, rows = as_matrix(covariance), W_dec.double().numpy()
    weights = 6 / np.einsum("ni,ij,nj->n", rows, np.linalg.inv(C), rows)
    np.testing.assert_allclose((rows * weights[:, None]).T @ rows / len(rows), C, rtol=1e-8, atol=1e-10)


def test_whiten_and_colour_are_inverse_roots():
    covariance = enrichment_covariance.layer_covariance(random_case()[0])
    torch.testing.assert_close(covariance.whiten.T @ covariance.colour, torch.eye(6, dtype=torch.float64))


def test_bad_settings_of_the_covariance_are_refused():
    W_dec, W_U, sets = random_case()
    for wrong in ({"shrinkage": 1.5}, {"shrinkage": -0.1}, {"steps": -1}):
        with pytest.raises(FsrlError, match="shrinkage from 0 to 1, steps from 0"):
            enrichment_covariance.layer_covariance(W_dec, **wrong)
    other = enrichment_covariance.layer_covariance(W_dec[:, :4])
    with pytest.raises(FsrlError, match="C has d_model 4 but W_dec has 6"):
        enrichment.set_statistics(W_dec, W_U, sets, covariance=other)
