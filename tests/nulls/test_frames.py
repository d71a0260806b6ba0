"""Random directions: seeded, independent of the blocking, and their quantiles with an honest error."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from fsrl.errors import FsrlError
from fsrl.moments import formulas
from fsrl.nulls import directions as null_directions
from fsrl.nulls import frames as nulls
from fsrl.tables import core as tables
from fsrl.tables.moments import NULL
from fsrl.weights import matrices as weights
from tests.fixtures.moment_examples import RATIOS, SIDES


def unembedding(d_model=8, d_vocab=300):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(d_model, d_vocab, generator=generator) + 0.5


def test_directions_have_length_one_and_no_preferred_axis():
    directions = nulls.isotropic_directions(6, draws=20000, seed=1)
    assert directions.dtype == torch.float32
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(20000))
    covariance = (directions.T @ directions / 20000).numpy()
    assert covariance == pytest.approx(np.eye(6) / 6, abs=0.006)  # sd of an entry is about .0015
    # One coordinate of a uniform direction: (x + 1) / 2 ~ Beta((d - 1) / 2, (d - 1) / 2).
    uniform = scipy.stats.beta(2.5, 2.5, loc=-1, scale=2)
    assert scipy.stats.kstest(directions[:, 2].numpy(), uniform.cdf).pvalue > 0.01


def test_the_seed_decides_and_the_blocking_does_not():
    size = null_directions.DRAWS_PER_BLOCK
    many = nulls.isotropic_directions(3, draws=2 * size + 5, seed=7)
    for draws in (1, size, size + 1):
        assert torch.equal(nulls.isotropic_directions(3, draws=draws, seed=7), many[:draws])
    assert not torch.equal(many[:size], many[size : 2 * size])
    assert not torch.equal(nulls.isotropic_directions(3, draws=1, seed=8), many[:1])


def test_table_does_not_depend_on_the_passes(monkeypatch):
    monkeypatch.setattr(null_directions, "DRAWS_PER_BLOCK", 64)
    expected = nulls.isotropic(unembedding(), draws=300, seed=0)
    monkeypatch.setattr(nulls, "BLOCKS_PER_PASS", 2)
    passed = nulls.isotropic(unembedding(), draws=300, seed=0)
    pd.testing.assert_frame_equal(passed, expected, rtol=1e-6)


def test_all_views_of_the_same_directions_at_once(monkeypatch):
    W_U = unembedding()
    trained = torch.arange(300) % 7 != 0
    known = weights.Unembedding(W_U, W_U * 2, tuple(map(str, range(300))), None, trained, {})
    views = {"trained": {"tokens": "trained"}, "main": {}, "cosine": {"cosine": True}, "raw": {"w_u": "raw"}}
    monkeypatch.setattr(null_directions, "DRAWS_PER_BLOCK", 64)
    monkeypatch.setattr(nulls, "BLOCKS_PER_PASS", 2)
    found = nulls.isotropic_of_views(known, views, draws=300, seed=1)
    assert list(found) == list(views)
    for name, view in views.items():
        alone = nulls.isotropic(weights.view_unembedding(known, **view)[0], draws=300, seed=1)
        pd.testing.assert_frame_equal(
            found[name].drop(columns=RATIOS), alone.drop(columns=RATIOS), rtol=1e-5, atol=3e-6
        )
        same = np.isfinite(found[name][RATIOS]) == np.isfinite(alone[RATIOS])
        assert same.to_numpy().mean() > 0.99
    pd.testing.assert_frame_equal(found["main"], nulls.isotropic(W_U, draws=300, seed=1), check_exact=True)


def test_table_holds_the_moments_of_the_directions(tmp_path):
    W_U = unembedding()
    frame = nulls.isotropic(W_U, draws=50, seed=3)
    logits = nulls.isotropic_directions(8, draws=50, seed=3).double() @ W_U.double()
    oracle = formulas.row_moments(logits).numpy()
    assert frame[["mean", "std", "skewness", "kurtosis", *SIDES]].to_numpy() == pytest.approx(
        oracle, rel=1e-4, abs=1e-5
    )
    assert set(frame["kind"]) == {"isotropic"}
    assert frame["draw"].tolist() == list(range(50))
    # Half of the draws have a kurtosis above the median, and half of all sides more than is typical of one.
    known = frame["kurtosis"] > frame["kurtosis"].median()
    assert frame["right_share"].notna().tolist() == known.tolist()
    sides = frame[["right_kurtosis", "left_kurtosis"]].to_numpy()
    eighths = frame[["right_eighth", "left_eighth"]].to_numpy()
    has_tail = (sides > np.median(sides)) & (eighths > np.median(eighths))
    assert np.isfinite(frame[["tail_tokens", "left_tail_tokens"]].to_numpy()).tolist() == has_tail.tolist()
    tables.write(frame, tmp_path / "null", NULL, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "null", NULL), frame)


def test_variance_of_random_directions_is_that_of_the_columns_shared_out():
    W_U = unembedding(d_model=16)
    frame = nulls.isotropic(W_U, draws=20000, seed=0)
    centred = W_U - W_U.mean(1, keepdim=True)
    expected = centred.pow(2).sum(0).mean().item() / 16
    assert (frame["std"] ** 2).mean() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("settings", [{"draws": 0, "seed": 0}, {"draws": 5, "seed": -1}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(FsrlError, match="draws must be 1 or more, seed 0 or more"):
        nulls.isotropic(unembedding(), **settings)
