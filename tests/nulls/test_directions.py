"""Null directions of each kind: second moments, norms, what a sign flip keeps, seeds, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.nulls import directions as null_directions

SIZE = null_directions.DRAWS_PER_BLOCK


def decoder(rows=40, d_model=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, d_model, generator=generator) * torch.tensor(
        [3.0, 2, 1, 1, 0.5, 0.1][:d_model]
    )
    return matrix + 0.3


def unembedding(d_model=6, d_vocab=300):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(d_model, d_vocab, generator=generator) * 2 + torch.arange(d_model).unsqueeze(1)


def drawn(kind, draws, seed=0):
    if kind == "second_moment":
        blocks = null_directions.second_moment(decoder(), draws=draws, seed=seed)
    else:
        blocks = null_directions.sign_flip(decoder(), unembedding(), draws=draws, seed=seed)
    return torch.cat(list(blocks))


KINDS = ("second_moment", "sign_flip")


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_the_number_of_draws_does_not(kind):
    many = drawn(kind, 2 * SIZE + 5, seed=7)
    assert many.dtype == torch.float32 and many.shape == (2 * SIZE + 5, 6)
    for draws in (1, SIZE, SIZE + 1):
        torch.testing.assert_close(drawn(kind, draws, seed=7), many[:draws], rtol=1e-6, atol=1e-7)
    assert not torch.allclose(many[:SIZE], many[SIZE : 2 * SIZE])
    assert not torch.allclose(drawn(kind, 10, seed=8), many[:10])


def test_gaussian_draws_have_the_angles_of_their_second_moment():
    rows = decoder().double()
    moment = rows.T @ rows / len(rows)
    found = drawn("second_moment", 40_000).double()
    found /= found.norm(dim=1, keepdim=True)
    # The slow twin: numpy's own multivariate normal, made unit vectors.
    oracle = np.random.default_rng(0).multivariate_normal(np.zeros(6), moment.numpy(), 40_000)
    oracle /= np.linalg.norm(oracle, axis=1, keepdims=True)
    expected = oracle.T @ oracle / len(oracle)
    assert (found.T @ found / len(found)).numpy() == pytest.approx(expected, abs=0.012)  # sd below .0025 each
    assert np.abs(expected - np.eye(6) / 6).max() > 0.05
    assert found.mean(0).abs().max() < 0.02


def test_gaussian_draws_take_their_norms_from_the_rows():
    norms = decoder().norm(dim=1)
    found = drawn("second_moment", 4000)
    distance = (found.norm(dim=1).unsqueeze(1) - norms).abs()
    assert distance.min(dim=1).values.max() < 1e-5
    picks = torch.bincount(distance.argmin(dim=1), minlength=len(norms))
    assert picks.min() > 50  # 100 expected of each row, sd 10
    # The norm says nothing about the direction.
    cosine = (found / found.norm(dim=1, keepdim=True))[:, 0].abs()
    assert abs(np.corrcoef(cosine, found.norm(dim=1))[0, 1]) < 0.08


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), d_model=st.integers(2, 12), rows=st.integers(1, 30))
def test_a_sign_flip_keeps_norm_and_std_of_its_row(seed, d_model, rows):
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.randn(rows, d_model, generator=generator)
    W_U = torch.randn(d_model, 50, generator=generator) + 3 * torch.randn(d_model, 1, generator=generator)
    flipped = torch.cat(list(null_directions.sign_flip(W_dec, W_U, draws=2 * rows + 1, seed=seed)))
    source = W_dec[torch.arange(2 * rows + 1) % rows].double()
    exact = flipped.double()
    torch.testing.assert_close(exact.norm(dim=1), source.norm(dim=1), rtol=1e-6, atol=0)
    std, before = ((x @ W_U.double()).std(dim=1, correction=0) for x in (exact, source))
    torch.testing.assert_close(std, before, rtol=1e-5, atol=1e-6)


def test_a_sign_flip_is_one_of_the_reflections_along_the_principal_axes():
    W_dec, W_U = decoder(rows=3, d_model=2), unembedding(d_model=2)
    centred = (W_U - W_U.mean(1, keepdim=True)).double().numpy()
    axes = np.linalg.svd(centred, full_matrices=False)[0].T
    found = torch.cat(list(null_directions.sign_flip(W_dec, W_U, draws=3000, seed=0))).double().numpy()
    for row in range(3):
        coordinates = axes @ W_dec[row].double().numpy()
        signs = (axes @ found[row::3].T) / coordinates[:, None]
        assert np.abs(signs) == pytest.approx(1, abs=1e-4)
        patterns, counts = np.unique(np.sign(signs), axis=1, return_counts=True)
        assert patterns.shape[1] == 4 and counts.min() > 190  # 250 expected, sd 14


def test_rows_without_direction_are_left_out():
    W_dec = torch.cat([torch.zeros(3, 6), decoder(rows=2)])
    for blocks in (
        null_directions.second_moment(W_dec, draws=100, seed=0),
        null_directions.sign_flip(W_dec, unembedding(), draws=100, seed=0),
    ):
        norms = torch.cat(list(blocks)).norm(dim=1)
        assert torch.isclose(norms.unsqueeze(1), W_dec[3:].norm(dim=1), rtol=1e-5).any(dim=1).all()


def refuse(message, function, *arguments, **settings):
    with pytest.raises(FsrlError, match=message):
        function(*arguments, **({"draws": 5, "seed": 0} | settings))


def test_what_cannot_be_drawn_is_refused():
    d = null_directions
    refuse("every row of W_dec is 0", d.second_moment, torch.zeros(3, 6))
    refuse(
        r"W_dec: nan at \[1, 2\]",
        d.second_moment,
        decoder().index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(torch.nan)),
    )
    refuse("W_dec is torch.int64", d.second_moment, torch.ones(3, 6, dtype=torch.int64))
    refuse("draws is 0", d.second_moment, decoder(), draws=0)
    refuse("seed is -1", d.sign_flip, decoder(), unembedding(), seed=-1)
    refuse("W_dec has d_model 6 but W_U has 5", d.sign_flip, decoder(), unembedding(5))
