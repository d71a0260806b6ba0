"""Tables of token sets and enrichment: written and read back, and which tests of a study are discoveries."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fsrl.enrichment import best_sets as enrichment_pvalues
from fsrl.enrichment import frames as enrichment_frames
from fsrl.enrichment import scores as enrichment_scores
from fsrl.enrichment import statistics as enrichment
from fsrl.enrichment import store
from fsrl.enrichment import study as enrichment_study
from fsrl.errors import FsrlError
from fsrl.stats import odds as enrichment_odds
from fsrl.tables import core as tables
from fsrl.tables.enrichment import BEST_SETS, ENRICHMENT, SCORES, token_sets_table
from fsrl.tokens import frame as token_frame
from tests.fixtures.enrichment_examples import random_case

NAMES = ["a", "b", "c", "d", "e"]


@pytest.fixture
def found():
    W_dec, W_U, sets = random_case()
    W_dec[7] = 0
    return enrichment.set_statistics(W_dec, W_U, sets)


def test_token_sets_come_back(tmp_path):
    sets = pd.DataFrame({"x": [True, False], "y": [False, False]}, index=pd.RangeIndex(2, name="token_id"))
    table = token_sets_table({"x": "is x", "y": "is y"})
    tables.write(token_frame.token_sets_frame(sets), tmp_path / "sets.parquet", table, {})
    read = store.read_token_sets(tmp_path / "sets.parquet")
    pd.testing.assert_frame_equal(read, sets, check_names=False)


def test_statistics_come_back_as_they_were(found, tmp_path):
    frame = enrichment_frames.enrichment_frame(found, NAMES)
    tables.write(frame, tmp_path / "e.parquet", ENRICHMENT, {})
    sets, (t, eta2, absent) = store.statistic(tmp_path / "e.parquet", "t", "eta2", "t_stratified")
    assert sets == NAMES
    np.testing.assert_array_equal(t, found.t.numpy())
    np.testing.assert_array_equal(eta2, found.eta2.numpy())
    assert np.isnan(t[7]).all() and np.isnan(absent).all() and absent.shape == t.shape
    row = frame[(frame["feature"] == 3) & (frame["set"] == "b")].iloc[0]
    assert row["z"] == found.z[3, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="t"), "no column t"),
        (lambda frame: frame.iloc[:-1], "not every feature has every set"),
        (lambda frame: frame.sort_values("set"), "not every feature has every set"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(found, tmp_path, change, message):
    frame = enrichment_frames.enrichment_frame(found, NAMES)
    change(frame).to_parquet(tmp_path / "e.parquet", index=False)
    with pytest.raises(FsrlError, match=message):
        store.statistic(tmp_path / "e.parquet", "t")


def test_missing_tables_and_wrong_names_are_refused(found, tmp_path):
    with pytest.raises(FsrlError, match="build it first"):
        store.statistic(tmp_path / "none.parquet", "t")
    with pytest.raises(FsrlError, match="build it first"):
        store.read_token_sets(tmp_path / "none.parquet")
    with pytest.raises(FsrlError, match="5 sets for 2 names"):
        enrichment_frames.enrichment_frame(found, NAMES[:2])


def test_best_sets_name_the_smallest_p_of_each_side(found, tmp_path):
    t, p = found.t.numpy(), found.log10_p.numpy()
    study = enrichment_pvalues.of_study([p], level=0.9)
    best = enrichment_pvalues.best_sets(found.t, found.log10_p, torch.from_numpy(study.log10_q[0]))
    up, down = enrichment_pvalues.significant(t, p, study.cut)
    counts = (up.sum(axis=1), down.sum(axis=1))
    clusters = np.arange(len(t))
    frame = enrichment_pvalues.best_sets_frame(
        best, NAMES, eta2=found.eta2.numpy(), clusters=clusters, counts=counts
    )
    tables.write(frame, tmp_path / "b.parquet", BEST_SETS, {})
    read = tables.read(tmp_path / "b.parquet", BEST_SETS)
    for feature in range(len(t)):
        for side, sign in (("promoted", 1), ("suppressed", -1)):
            allowed = [s for s in range(5) if sign * t[feature, s] > 0]
            row = read.iloc[feature]
            if not allowed:
                assert pd.isna(row[side]) and np.isnan(row[f"{side}_eta2"])
                continue
            first = min(allowed, key=lambda s: p[feature, s])
            assert row[side] == NAMES[first]
            assert row[f"{side}_eta2"] == found.eta2[feature, first]
            # What is significant is so by q as well as by the cut.
            assert (row[f"{side}_log10_q"] <= np.log10(0.9)) == (row[f"n_{side}"] > 0)
    assert read["n_promoted"].sum() > 0 and pd.isna(read["promoted"][7])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-12, 1.0), min_size=2, max_size=40), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_rate_is_that_of_the_whole_study(p, level):
    values = np.log10(np.array(p)).astype(np.float32)
    layers = [values[:1].reshape(1, 1), np.append(values[1:], np.float32(np.nan)).reshape(1, -1)]
    study = enrichment_pvalues.of_study(layers, level=level)
    q = stats.false_discovery_control(np.clip(10.0 ** values.astype(float), 0, 1))
    flat = np.concatenate([part.reshape(-1) for part in study.log10_q])
    np.testing.assert_allclose(flat[:-1], np.log10(q), atol=1e-5)
    assert np.isnan(flat[-1])
    called = np.concatenate([part.reshape(-1) for part in layers]) <= study.cut
    np.testing.assert_array_equal(called, flat <= np.log10(level))


def test_a_study_without_a_single_p_has_no_cut():
    absent = np.full((3, 2), np.nan, dtype=np.float32)
    study = enrichment_pvalues.of_study([absent, absent], level=0.05)
    assert np.isnan(study.cut) and np.isnan(study.log10_q[1]).all()
    assert not np.any(enrichment_pvalues.significant(absent, absent, study.cut))


def test_odds_of_both_sides_are_one_table():
    flags = np.zeros((40, 3), dtype=bool)
    flags[:5, 1] = True  # of the type alone
    flags[[0, 25], 2] = True
    types = ["prediction"] * 10 + ["unclassified"] * 30
    odds = enrichment_odds.odds_ratios(flags, types, np.arange(40), draws=50, seed=0)
    frame = enrichment_study.sides([("promoted", odds), ("suppressed", odds)], NAMES[:3])
    assert frame["set"].tolist() == ["a", "b", "c"] * 2 and frame["odds_ratio"].isna().sum() == 2


def test_the_most_extreme_of_each_type_are_scored():
    types = pd.DataFrame(
        {
            "feature": np.arange(6, dtype=np.int32),
            "scheme": ["s"] * 5 + ["other"],
            "type": ["partition", "partition", "partition", "prediction", "unclassified", "partition"],
            "evidence": [0.1, 0.3, 0.2, 0.05, 0.9, 1.0],
        }
    )
    assert enrichment_study.most_extreme(types, "s", 2).tolist() == [1, 2, 3]
    assert enrichment_study.most_extreme(types, "s", 0).tolist() == []


@pytest.mark.parametrize("features", [[], [3, 1]])
def test_scores_table(features, tmp_path):
    W_dec, W_U, sets = random_case()
    chosen = np.array(features, dtype=np.int64)
    scores = enrichment_scores.signed_scores(W_dec, W_U, sets, torch.from_numpy(chosen))
    frame = enrichment_scores.scores_frame(scores, chosen, NAMES)
    tables.write(frame, tmp_path / "s.parquet", SCORES, {})
    assert len(frame) == len(features) * 5
    if features:
        row = frame[(frame["feature"] == 1) & (frame["set"] == "c")].iloc[0]
        assert row["es"] == pytest.approx(scores.es[1, 2].item(), abs=1e-6)
