"""Frequency slopes and null-space shares: by hand, by least squares and SVD, and their laws under
isotropy."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from fsrl.errors import FsrlError
from fsrl.moments import confidence
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
    frame = confidence.confidence_frame(rows, read, T, seed=0)
    for name in (name for name in frame if name.endswith("percentile")):
        # 1.6 is where Kolmogorov's law has .01 left.
        assert stats.kstest(frame[name], "uniform").statistic * np.sqrt(len(frame)) < 1.6, name


def test_transported_columns_are_those_of_carried_rows(tmp_path):
    W_U, counts, W_dec = made()
    read = confidence.reader(W_U, counts, null_space=0.25, layer_norm=True)
    T = torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(4))
    frame = confidence.confidence_frame(W_dec, read, T, seed=0, draws=500)
    moved = confidence.confidence_frame(W_dec.double() @ T.double().T, read, None, seed=0)
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
        frame = confidence.confidence_frame(W_dec, read, torch.eye(D_MODEL), seed=0, draws=100)
        assert frame.filter(like="frequency").isna().all(axis=None)
        assert frame["null_space_percentile"].isna().tolist() == [i == 2 for i in range(7)]
        assert frame["transported_null_space_percentile"].isna().tolist() == [i == 2 for i in range(7)]
    with pytest.raises(FsrlError, match="take less than 1"):
        confidence.reader(W_U, counts, null_space=0.99, layer_norm=True)
