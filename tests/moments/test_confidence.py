"""Frequency slopes and null-space shares: by hand, by least squares and SVD, and their laws under
isotropy."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from fsrl.errors import FsrlError
from fsrl.moments import confidence
from fsrl.nulls import directions
from fsrl.tables import core as tables
from fsrl.tables.steering import CONFIDENCE

D_MODEL, N_TOKENS = 12, 60


def made(seed=0):
    generator = torch.Generator().manual_seed(seed)
    W_U = torch.randn(D_MODEL, N_TOKENS, generator=generator, dtype=torch.float64)
    W_U = W_U * torch.linspace(0.1, 3, D_MODEL, dtype=torch.float64)[:, None]
    W_U = W_U - W_U.mean(0)  # as folding a LayerNorm leaves it
    counts = torch.randint(1, 1000, (N_TOKENS,), generator=generator)
    counts[5] = 0
    return W_U, counts, torch.randn(7, D_MODEL, generator=generator)


def framed(W_dec, read, T, **settings):
    """With few directions of the layer's spectrum."""
    alike = partial(directions.spectrum, W_dec, draws=4000, seed=1)
    return confidence.confidence_frame(W_dec, read, T, spectrum=alike, seed=0, **settings)


def test_the_slope_of_a_toy_by_hand():
    W_U = torch.tensor([[1.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
    # Counts are whole: e^2 and 1 would do, 4 and 1 give logs that differ by log 4.
    read = confidence.reader(W_U, torch.tensor([4, 1]), null_space=0.3, layer_norm=False)
    slope, _ = confidence.slopes(torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64), read.slope)
    assert slope[0] == pytest.approx(4 / np.log(4))


def test_slopes_are_those_of_least_squares():
    W_U, counts, W_dec = made()
    read = confidence.reader(W_U, counts, null_space=0.2, layer_norm=True)
    found, _ = confidence.slopes(W_dec.double(), read.slope)
    known = (counts > 0).numpy()
    assert not known.all()
    logits = (W_dec.double() @ W_U).numpy()[:, known]
    for row, slope in zip(logits, found, strict=True):
        assert slope == pytest.approx(stats.linregress(np.log(counts.numpy()[known]), row).slope)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_shares_are_those_of_the_bottom_singular_vectors(layer_norm):
    W_U, counts, W_dec = made()
    read = confidence.reader(W_U, counts, null_space=0.25, layer_norm=layer_norm)
    U, _, _ = np.linalg.svd((W_U - W_U.mean(1, keepdim=True)).numpy())
    # W_U doesn't see (1, ..., 1), the last one: with a LayerNorm it is no direction of confidence.
    bottom = U[:, -4:-1] if layer_norm else U[:, -3:]
    assert abs(U[:, -1]).std() < 1e-9
    rows = W_dec.double().numpy()
    expected = ((rows @ bottom) ** 2).sum(1) / (rows**2).sum(1)
    np.testing.assert_allclose(confidence.null_shares(W_dec.double(), read.null_space), expected, rtol=1e-8)


def test_percentiles_of_isotropic_directions_are_uniform():
    W_U, counts, _ = made()
    read = confidence.reader(W_U, counts, null_space=0.25, layer_norm=True)
    rows = torch.randn(4000, D_MODEL, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    T = torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    frame = framed(rows, read, T)
    for name in (name for name in frame if name.endswith("percentile")):
        # 1.6 is where Kolmogorov's law has .01 left.
        assert stats.kstest(frame[name], "uniform").statistic * np.sqrt(len(frame)) < 1.6, name


def leaning(n, W_U, along, seed=3):
    """Rows that write three times as much along W_U's weakest axes, as many as that, all of them alike."""
    axes = np.linalg.svd((W_U - W_U.mean(1, keepdim=True)).numpy())[0]
    scales = torch.ones(len(W_U), dtype=torch.float64)
    scales[-along:] = 3
    seeded = torch.Generator().manual_seed(seed)
    coordinates = torch.randn(n, len(W_U), generator=seeded, dtype=torch.float64)
    return coordinates * scales @ torch.from_numpy(axes.T.copy())


def test_what_a_whole_decoder_does_is_beyond_isotropic_directions_and_not_beyond_its_spectrum():
    """In dimensions enough: rows of length 1 have not quite the mean squares of these rows."""
    d, seeded = 64, torch.Generator().manual_seed(0)
    W_U = torch.randn(d, 200, generator=seeded, dtype=torch.float64) * torch.linspace(0.1, 3, d)[:, None]
    read = confidence.reader(W_U, torch.arange(200) + 1, null_space=0.25, layer_norm=False)
    T = torch.randn(d, d, generator=seeded, dtype=torch.float64)
    for prefix, seen, moved in (("", W_U, None), ("transported_", T.T @ W_U, T)):
        frame = framed(leaning(4000, seen, along=16), read, moved)
        for name in ("frequency", "null_space"):
            beside = frame[f"{prefix}{name}_spectrum_percentile"]
            assert (beside > 0.99).mean() < 0.025 and 0.4 < beside.median() < 0.6, (prefix, name)
        if moved is None:
            assert (frame["null_space_percentile"] > 0.99).mean() > 0.9


def test_what_one_row_does_is_beyond_the_spectrum_of_the_others():
    W_U, counts, _ = made()
    read = confidence.reader(W_U, counts, null_space=0.25, layer_norm=True)
    rows = torch.randn(4000, D_MODEL, generator=torch.Generator().manual_seed(5)).double()
    rows[7], rows[8] = read.null_space.sum(1), read.slope
    frame = framed(rows, read, None)
    assert frame["null_space_spectrum_percentile"][7] == 1 and frame["frequency_spectrum_percentile"][8] == 1


def test_percentiles_beside_the_spectrum_are_counted_by_hand():
    """From the draws themselves, of the view's own W_U, carried or not."""
    W_U, counts, W_dec = made()
    read = confidence.reader(W_U, counts, null_space=0.25, layer_norm=True)
    T = torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(4)).double()
    frame = framed(W_dec, read, T)
    for prefix, moved in (("", torch.eye(D_MODEL).double()), ("transported_", T)):
        drawn = torch.cat([*directions.spectrum(W_dec, moved.T @ W_U, draws=4000, seed=1)]).double()
        for name, measure in (
            ("frequency", lambda x, moved=moved: (x @ moved.T @ read.slope / x.norm(dim=1)).numpy()),
            ("null_space", lambda x, moved=moved: confidence.null_shares(x @ moved.T, read.null_space)),
        ):
            expected = (measure(drawn) < measure(W_dec.double())[:, None]).mean(1)
            # Draws near a row's own value may change sides by rounding.
            np.testing.assert_allclose(frame[f"{prefix}{name}_spectrum_percentile"], expected, atol=1e-3)


def test_transported_columns_are_those_of_carried_rows(tmp_path):
    W_U, counts, W_dec = made()
    read = confidence.reader(W_U, counts, null_space=0.25, layer_norm=True)
    T = torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(4))
    frame = framed(W_dec, read, T, draws=500)
    moved = framed(W_dec.double() @ T.double().T, read, None)
    for name in ("frequency_slope", "null_space_share"):
        np.testing.assert_allclose(frame[f"transported_{name}"], moved[name], rtol=1e-8)
    assert moved.filter(like="transported").isna().all(axis=None)
    tables.write(frame, tmp_path / "confidence.parquet", CONFIDENCE, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "confidence.parquet", CONFIDENCE), frame)


def test_what_is_unknown_is_null():
    W_U, counts, W_dec = made()
    W_dec[2] = 0
    for unknown in (None, torch.full_like(counts, 7), torch.zeros_like(counts)):
        read = confidence.reader(W_U, unknown, null_space=0.25, layer_norm=True)
        frame = framed(W_dec, read, torch.eye(D_MODEL), draws=100)
        assert frame.filter(like="frequency").isna().all(axis=None)
        assert frame["null_space_percentile"].isna().tolist() == [i == 2 for i in range(7)]
        for name in ("transported_null_space_percentile", "null_space_spectrum_percentile"):
            assert frame[name].isna().tolist() == [i == 2 for i in range(7)]
    with pytest.raises(FsrlError, match="take less than 1"):
        confidence.reader(W_U, counts, null_space=0.99, layer_norm=True)
