"""Null directions: second moments, norms, what flips, rotations and spectra keep, seeds, refusals."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

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


def axes(W_U):
    """The slow twin: left singular vectors of centred W_U, an axis a column, the largest variance first."""
    return np.linalg.svd((W_U - W_U.mean(1, keepdim=True)).double().numpy(), full_matrices=True)[0]


# Kinds that are made along W_U's principal axes.
ALONG_W_U = {
    "spectrum": null_directions.spectrum,
    "sign_flip": null_directions.sign_flip,
    "band_rotation": partial(null_directions.band_rotation, width=2),
}


def drawn(kind, draws, seed=0):
    if kind == "second_moment":
        blocks = null_directions.second_moment(decoder(), draws=draws, seed=seed)
    else:
        blocks = ALONG_W_U[kind](decoder(), unembedding(), draws=draws, seed=seed)
    return torch.cat(list(blocks))


KINDS = ("second_moment", *ALONG_W_U)


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


@pytest.mark.parametrize("kind", ["second_moment", "spectrum"])
def test_gaussian_draws_take_their_norms_from_the_rows(kind):
    norms = decoder().norm(dim=1)
    found = drawn(kind, 4000)
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


def test_a_spectrum_has_the_rows_mean_square_along_each_axis_and_nothing_else():
    basis = axes(unembedding())
    rows = decoder().double().numpy()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    squares = ((unit @ basis) ** 2).mean(axis=0)
    # The slow twin: numpy's normals along the axes, made unit vectors.
    oracle = np.random.default_rng(0).standard_normal((40_000, 6)) * np.sqrt(squares)
    oracle /= np.linalg.norm(oracle, axis=1, keepdims=True)
    found = drawn("spectrum", 40_000).double().numpy() @ basis
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    for axis in range(6):
        assert stats.ks_2samp(found[:, axis], oracle[:, axis]).pvalue > 1e-3
    correlation = np.corrcoef(found.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.025  # sd .005
    # What the rows have between axes is lost: their own coordinates are far from uncorrelated.
    assert np.abs((unit @ basis).T @ (unit @ basis) / len(unit) - np.diag(squares)).max() > 0.02


def test_a_spectrum_counts_rows_alike_whatever_their_lengths():
    W_dec, W_U = decoder(), unembedding()
    longer = W_dec * torch.linspace(0.1, 30, len(W_dec)).unsqueeze(1)
    first, second = (
        torch.cat(list(null_directions.spectrum(rows, W_U, draws=200, seed=4))) for rows in (W_dec, longer)
    )
    lengths = (rows.norm(dim=1, keepdim=True) for rows in (first, second))
    torch.testing.assert_close(*(rows / n for rows, n in zip((first, second), lengths, strict=True)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), d_model=st.integers(2, 12), scale=st.floats(0.01, 100))
def test_a_spectrum_follows_a_turn_of_the_residual_stream(seed, d_model, scale):
    """Turned weights have turned null directions in distribution: the draws' second moment turns along."""
    generator = np.random.default_rng(seed)
    W_dec, W_U = generator.standard_normal((30, d_model)), generator.standard_normal((d_model, 80))
    W_U *= (1 + np.arange(d_model))[:, None]  # no two axes of one variance, whose basis would be arbitrary
    turn = np.linalg.qr(generator.standard_normal((d_model, d_model)))[0]
    moments = [
        null_directions.mean_spectrum(torch.from_numpy(rows), torch.from_numpy(columns)).numpy()
        for rows, columns in ((W_dec, W_U), (W_dec @ turn, scale * turn.T @ W_U))
    ]
    assert moments[1] == pytest.approx(turn.T @ moments[0] @ turn, abs=1e-7)
    assert np.trace(moments[0]) == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), d_model=st.integers(2, 12), rows=st.integers(1, 30), width=st.integers(1, 13)
)
def test_a_rotation_keeps_its_rows_norm_in_every_band(seed, d_model, rows, width):
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.randn(rows, d_model, generator=generator)
    W_U = torch.randn(d_model, 50, generator=generator) * torch.arange(1, d_model + 1).unsqueeze(1)
    drawn = null_directions.band_rotation(W_dec, W_U, width=width, draws=2 * rows + 1, seed=seed)
    basis = axes(W_U)
    found = torch.cat(list(drawn)).double().numpy() @ basis
    source = (W_dec[torch.arange(2 * rows + 1) % rows]).double().numpy() @ basis
    for start in range(0, d_model, width):
        norms = [np.linalg.norm(x[:, start : start + width], axis=1) for x in (found, source)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-4, abs=1e-5)


def test_a_rotation_is_uniform_in_its_band():
    found = torch.cat(
        list(null_directions.band_rotation(decoder(1), unembedding(), width=3, draws=20_000, seed=0))
    )
    coordinates = found.double().numpy() @ axes(unembedding())
    for start in (0, 3):
        band = coordinates[:, start : start + 3]
        cosines = band / np.linalg.norm(band, axis=1, keepdims=True)
        # A coordinate of a uniform direction in three dimensions is uniform (Archimedes).
        for axis in range(3):
            assert stats.kstest(cosines[:, axis], stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_a_few_rows_along_an_axis_are_in_the_flips_in_full_and_hardly_in_the_spectrum():
    """Why the spectrum bounds the types: the share of a planted axis in the draws that have most of it."""
    generator = torch.Generator().manual_seed(0)
    W_dec, W_U = torch.randn(1000, 48, generator=generator), torch.randn(48, 2000, generator=generator)
    W_U[0] *= 2
    W_dec[:20, 0] += 12
    axis, shares = axes(W_U)[:, 0], {}
    for kind in ("sign_flip", "spectrum"):
        draws = torch.cat(list(ALONG_W_U[kind](W_dec, W_U, draws=10_000, seed=0))).double().numpy()
        shares[kind] = np.quantile((draws @ axis) ** 2 / (draws**2).sum(axis=1), 0.995)
    planted = (W_dec[:20].double().numpy() @ axis) ** 2 / (W_dec[:20].double() ** 2).sum(1).numpy()
    assert shares["sign_flip"] > np.median(planted) > 0.6 and shares["spectrum"] < 0.4


def test_rows_without_direction_are_left_out():
    W_dec = torch.cat([torch.zeros(3, 6), decoder(rows=2)])
    for blocks in (
        null_directions.second_moment(W_dec, draws=100, seed=0),
        *(draw(W_dec, unembedding(), draws=100, seed=0) for draw in ALONG_W_U.values()),
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
    for draw in ALONG_W_U.values():
        refuse("W_dec has d_model 6 but W_U has 5", draw, decoder(), unembedding(5))
        refuse(r"W_U: nan at \[0, 0\]", draw, decoder(), unembedding() * torch.nan)
    refuse("width is 0; a band has 1 axis or more", d.band_rotation, decoder(), unembedding(), width=0)
