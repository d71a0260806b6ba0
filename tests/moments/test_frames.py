"""From tensors to tables: every column where it belongs, and a round trip through the files."""

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.moments import engine
from fsrl.moments import frames as moment_frames
from fsrl.moments.formulas import Typical
from fsrl.tables import core as tables
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS
from fsrl.weights.matrices import Decoder

TYPICAL = Typical(kurtosis=2.0, right_kurtosis=0.25, right_eighth=0.25)
TOKENS = ("a", "b", "c", "d", "e", "f")
KEPT = torch.tensor([0, 2, 3, 5])  # the view leaves tokens 1 and 4 out


def decoder(density):
    W_dec = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    return Decoder(W_dec, density, "hook", 0, "sae", {})


def result(**settings):
    W_U = torch.tensor([[0.0, 0.0, 0.0, 4.0], [1.0, -1.0, 3.0, -3.0]])
    return engine.logit_moments(decoder(None).W_dec, W_U, precision="fp64", **settings)


def test_moments_frame_worked_example():
    density = torch.tensor([-2.0, -9.0, -9.5])
    frame = moment_frames.moments_frame(result(), decoder(density), TYPICAL)
    assert frame["feature"].tolist() == [0, 1, 2]
    assert frame["mean"].tolist() == [1.0, 0.0, 0.0]
    assert frame["std"].tolist() == pytest.approx([3**0.5, 20**0.5, 0.0])
    assert frame["norm"].tolist() == [1.0, 2.0, 0.0]
    # Feature 0: z = (-1, -1, -1, 3) / sqrt(3), so R = 81 / 9 / 4 = 9 / 4 and E = 6561 / 81 / 4 = 81 / 4; on
    # the left 3 / 9 / 4 = 1 / 12 and 3 / 81 / 4 = 1 / 108. Against R0 = E0 = 1 / 4 the right tail is made of
    # 4 * 2^2 / 20 = .8 tokens, the left has less than is typical, and of the kurtosis' excess of 7 / 3 - 2
    # the right has 9 / 4 - 1 / 4, six times as much. Feature 1: z = (1, -1, 3, -3) / sqrt(5), twice the same.
    assert frame["right_kurtosis"].tolist() == pytest.approx([9 / 4, 82 / 100, np.nan], nan_ok=True)
    assert frame["left_kurtosis"].tolist() == pytest.approx([1 / 12, 82 / 100, np.nan], nan_ok=True)
    assert frame["right_eighth"].tolist() == pytest.approx([81 / 4, 6562 / 2500, np.nan], nan_ok=True)
    assert frame["left_eighth"].tolist() == pytest.approx([1 / 108, 6562 / 2500, np.nan], nan_ok=True)
    assert frame["right_share"].tolist() == pytest.approx([6.0, np.nan, np.nan], nan_ok=True)
    # 4 * (.82 - .25)^2 / (2.6248 - .25)
    both = 4 * 0.57**2 / 2.3748
    assert frame["tail_tokens"].tolist() == pytest.approx([0.8, both, np.nan], nan_ok=True)
    assert frame["left_tail_tokens"].tolist() == pytest.approx([np.inf, both, np.nan], nan_ok=True)
    assert frame["kurtosis"].isna().tolist() == [False, False, True]
    assert frame["log10_density"].tolist() == [-2.0, -9.0, -9.5]
    assert frame["alive"].tolist() == [True, True, False]


def test_unknown_density_stays_unknown():
    frame = moment_frames.moments_frame(result(), decoder(None), TYPICAL)
    assert frame["log10_density"].isna().all()
    assert frame["alive"].isna().all()


def test_one_unknown_density_stays_unknown_among_others(tmp_path):
    density = torch.tensor([-2.0, torch.nan, -10.0])
    frame = moment_frames.moments_frame(result(), decoder(density), TYPICAL)
    assert frame["alive"].tolist() == [True, pd.NA, False]
    tables.write(frame, tmp_path / "moments", MOMENTS, {})
    assert tables.read(tmp_path / "moments", MOMENTS)["log10_density"].isna().tolist() == [False, True, False]


def test_extremes_frame_names_tokens_of_the_whole_vocabulary():
    frame = moment_frames.extremes_frame(result(n_extremes=2), TOKENS, KEPT)
    first = frame[frame["feature"] == 0]
    assert first["side"].tolist() == ["top", "top", "bottom", "bottom"]
    assert first["rank"].tolist() == [0, 1, 0, 1]
    assert first["token_id"].tolist() == [5, 0, 0, 2]
    assert first["token"].tolist() == ["f", "a", "a", "c"]
    assert first["weight"].tolist() == pytest.approx([4.0, 0.0, 0.0, 0.0], abs=1e-12)
    second = frame[frame["feature"] == 1]
    assert second["token"].tolist() == ["d", "a", "f", "c"]
    assert second["weight"].tolist() == pytest.approx([6.0, 2.0, -6.0, -2.0])


def test_histogram_frame():
    frame = moment_frames.histogram_frame(result(n_bins=16))
    # Feature 1: (2, -2, 6, -6) / sqrt(20) = (0.4, -0.4, 1.3, -1.3) std.
    assert frame["counts"][1].tolist() == [0] * 6 + [1, 1, 1, 1] + [0] * 6
    assert frame["counts"].map(sum).tolist() == [4, 4, 4]


def test_every_frame_fits_its_table(tmp_path):
    found = result()
    frames = {
        MOMENTS.name: moment_frames.moments_frame(found, decoder(None), TYPICAL),
        EXTREMES.name: moment_frames.extremes_frame(found, TOKENS, KEPT),
        HISTOGRAMS.name: moment_frames.histogram_frame(found),
    }
    for table in (MOMENTS, EXTREMES, HISTOGRAMS):
        tables.write(frames[table.name], tmp_path / table.name, table, {})
        pd.testing.assert_frame_equal(tables.read(tmp_path / table.name, table), frames[table.name])


def test_what_does_not_belong_together_is_refused():
    other = Decoder(torch.ones(2, 2), None, "hook", 0, "sae", {})
    with pytest.raises(FsrlError, match="3 rows of moments but the decoder has 2"):
        moment_frames.moments_frame(result(), other, TYPICAL)
    with pytest.raises(FsrlError, match="6 token ids for moments over 4 tokens"):
        moment_frames.extremes_frame(result(), TOKENS, torch.arange(6))
