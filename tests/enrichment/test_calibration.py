"""On the real W_U of the embedded study: t is Student's for Gaussian rows, and the textbook z is no z; p of
real rows keeps its level beside shuffled sets, where Student's does not.

Null directions are drawn with a fixed seed. Each test says how far off chance alone could put it.
"""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from fsrl.enrichment import best_sets as enrichment_pvalues
from fsrl.enrichment import calibration, null_frames, row_nulls
from fsrl.enrichment import covariance as enrichment_covariance
from fsrl.enrichment import statistics as enrichment
from fsrl.stats import rates
from fsrl.tables import core as tables
from fsrl.tables.enrichment import NULL_DISCOVERIES, NULL_LEVEL, NULL_P_VALUES
from tests.fixtures.enrichment_examples import mini_decoder, mini_sets, mini_unembedding

DRAWS = 20000
LEVEL = np.log10(0.05)
LAYERS = ("blocks.0.hook_resid_pre", "blocks.4.hook_resid_pre", "blocks.5.hook_resid_post")


def strata():
    """Any fixed strata do under a null: here, octaves of the token's id."""
    return enrichment.frequency_strata(torch.arange(mini_unembedding().shape[1]))


def null_statistics(covariance, draws, seed):
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(draws, covariance.k, generator=generator, dtype=torch.float64)
    directions = normal @ covariance.colour.T  # N(0, C)
    return directions, enrichment.set_statistics(
        directions, mini_unembedding(), mini_sets()[1], strata=strata(), covariance=covariance, nulls=few()
    )


def few():
    """Nulls for tests that do not read p of them."""
    return row_nulls.null_directions(mini_unembedding(), draws=200, seed=0)


def student(found, column="t"):
    """log10 of Student's p of t."""
    return calibration.student_log10_p(getattr(found, column).double().numpy(), found.k)


@pytest.fixture(scope="module")
def null():
    return null_statistics(enrichment_covariance.layer_covariance(mini_decoder()), DRAWS, seed=0)[1]


def test_the_sets_are_real(null):
    names, sets = mini_sets()
    assert null.tested.all()
    assert len(names) > 30
    assert sets.sum(1).max() > 1000


@pytest.mark.parametrize("column", ["t", "t_stratified"])
def test_t_is_students_under_null_directions(null, column):
    p = 10 ** student(null, column)
    results = [scipy.stats.kstest(values, "uniform") for values in p.T]
    # Bonferroni over the sets; a D of .02 would already fail at this number of draws.
    assert min(result.pvalue for result in results) > 0.01 / len(results)
    assert max(result.statistic for result in results) < 0.02
    for level in (0.1, 0.01, 0.001):
        share = (p < level).mean(axis=0)
        assert (np.abs(share - level) < 5 * np.sqrt(level / DRAWS)).all()


def test_textbook_z_fails_the_same_test(null):
    p = 2 * scipy.stats.norm.sf(null.z.abs().double().numpy())
    statistics = [scipy.stats.kstest(values, "uniform").statistic for values in p.T]
    assert min(statistics) > 0.1  # every one of the sets
    log10_p = np.log10(np.maximum(p, 1e-300))
    assert (rates.benjamini_hochberg(log10_p) < LEVEL).mean() > 0.4
    assert null.z[:, mini_sets()[0].index("space")].std() > 10


def test_benjamini_hochberg_finds_no_more_than_promised(null):
    # Studies of 50 null directions: each may make any discovery in at most 5 % of cases.
    log10_p = student(null)
    studies = log10_p.reshape(-1, 50, log10_p.shape[1])
    wrong = np.mean([(rates.benjamini_hochberg(study) < LEVEL).any() for study in studies])
    assert wrong < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(studies))
    # The p are not merely large: some study finds something (5 % of 400 would, were the sets independent).
    assert wrong > 0
    assert not (rates.benjamini_hochberg(log10_p) < LEVEL).any()


@pytest.mark.parametrize("hook", LAYERS)
def test_t_is_students_where_c_is_estimated_from_the_null_decoders_themselves(hook):
    # As with real features: rows of length 1 from the layer's own shape, C from these rows alone.
    rows = mini_decoder(hook).double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    root = torch.linalg.cholesky(rows.T @ rows / len(rows))
    p, ledoit_wolf = [], []
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        null = torch.randn(rows.shape, generator=generator, dtype=torch.float64) @ root.T
        null = null / null.norm(dim=1, keepdim=True)
        found = enrichment.set_statistics(null, mini_unembedding(), mini_sets()[1], nulls=few())
        p.append(10 ** student(found))
        heavy = enrichment_covariance.layer_covariance(null, shrinkage=0.2, steps=0)
        statistics = enrichment.set_statistics(
            null, mini_unembedding(), mini_sets()[1], covariance=heavy, nulls=few()
        )
        ledoit_wolf.append(10 ** student(statistics))
    found = [scipy.stats.kstest(values, "uniform").statistic for values in np.concatenate(p).T]
    # 9216 p a set: chance alone puts one of 37 sets beyond .0226 in 1 % of cases.
    assert max(found) < 0.0226
    heavier = [scipy.stats.kstest(values, "uniform").statistic for values in np.concatenate(ledoit_wolf).T]
    assert max(heavier) > 0.04


def test_planted_alignment_is_found_among_null_directions():
    covariance = enrichment_covariance.layer_covariance(mini_decoder())
    directions, _ = null_statistics(covariance, 1000, seed=5)
    W_U, (names, sets) = mini_unembedding().double(), mini_sets()
    planted = names.index("digits")
    delta = W_U[:, sets[planted]].mean(dim=1) - W_U.mean(dim=1)
    directions[:20] += 0.6 * directions.norm(dim=1)[:20, None] * delta / delta.norm()
    found = enrichment.set_statistics(directions, W_U, sets, covariance=covariance)
    log10_q = torch.from_numpy(rates.benjamini_hochberg(found.log10_p.numpy()))
    best = enrichment_pvalues.best_sets(found.t, found.log10_p, log10_q)
    hit = (best.promoted[:20] == planted) & (best.promoted_log10_q[:20] < LEVEL)
    assert hit.sum() >= 15
    assert (best.promoted_log10_q[20:] < LEVEL).double().mean() < 0.01


@pytest.fixture(scope="module")
def real():
    """Repetitions of nothing with the real rows of hook 0, whose tails are the heaviest, and simple sets."""
    W_U = mini_unembedding()
    nulls = row_nulls.null_directions(W_U, draws=20_000, seed=0)
    rows = mini_decoder("blocks.0.hook_resid_pre")
    asked = {"repetitions": 4, "seed": 1, "level": 0.05, "cut": -5.0}
    return list(calibration.null_tests(rows, W_U, mini_sets()[1], nulls=nulls, **asked))


@pytest.mark.parametrize("kind", ["shuffled", "random", "turned"])
def test_real_rows_keep_the_level_that_student_does_not(real, kind):
    own = np.array([one.discoveries(0.05) for one in real if one.kind == kind])
    student = np.array([one.student_discoveries(0.05) for one in real if one.kind == kind])
    assert (student > 0).all() and student.mean() > 50
    assert (own > 0).mean() <= 0.25
    assert own.sum() < 0.01 * student.sum()


def test_what_is_tested_where_there_is_nothing(real):
    names, sets = mini_sets()
    assert [one.repetition for one in real if one.kind == "turned"] == [0, 1, 2, 3]
    assert {one.tokens for one in real if one.kind == "random"} == set(calibration.SIZES)
    shuffled = [one for one in real if one.kind == "shuffled"]
    assert all(one.t.shape == (calibration.FEATURES, len(names)) for one in shuffled)
    # z has sd 1 there, since tokens are drawn at random.
    assert shuffled[0].z is not None and np.std(shuffled[0].z, axis=1).mean() == pytest.approx(1, abs=0.1)
    assert np.isfinite(shuffled[0].log10_p).all()


def test_shuffled_sets_are_those_of_set_statistics():
    """In float32, from shared fits and in their tails alone: as the slow way has it."""
    W_U, (_, sets) = mini_unembedding(), mini_sets()
    rows = mini_decoder("blocks.0.hook_resid_pre")[:300]
    nulls = row_nulls.null_directions(W_U, draws=2000, seed=0)
    asked = {"repetitions": 2, "seed": 1, "level": 0.05, "cut": -5.0}
    found = list(calibration.null_tests(rows, W_U, sets, nulls=nulls, **asked))
    generator = torch.Generator().manual_seed(1)
    for one in found[:2]:
        order = torch.randperm(sets.shape[1], generator=generator)
        expected = enrichment.set_statistics(rows, W_U, sets[:, order], nulls=nulls)
        np.testing.assert_allclose(one.t, expected.t.numpy(), rtol=1e-3, atol=1e-4)
        p = expected.log10_p.numpy()
        low, off = p < -2.5, one.log10_p - p
        assert low.sum() > 10
        # Beside a null that is not in its tail p may be taken for smaller, but never for larger.
        assert np.median(np.abs(off[low])) < 0.005
        assert off[low].min() > -0.7 and off[low].max() < 0.01
        assert (one.log10_p[~low] > -3.2).all()
    assert found[0].z is not None and found[1].z is None
    first = torch.randperm(sets.shape[1], generator=torch.Generator().manual_seed(1))
    expected = enrichment.set_statistics(rows, W_U, sets[:, first], nulls=nulls)
    np.testing.assert_allclose(found[0].z, expected.z.numpy(), rtol=1e-3, atol=1e-3)
    assert np.abs(found[0].log10_p - expected.log10_p.numpy()).max() < 0.05


def test_turned_rows_are_those_of_a_turned_decoder(monkeypatch):
    W_U, (_, sets) = mini_unembedding(), mini_sets()
    rows = mini_decoder("blocks.0.hook_resid_pre")[:400].double()
    nulls = row_nulls.null_directions(W_U, draws=2000, seed=0)
    turn = calibration.rotation(160, torch.Generator().manual_seed(3))
    torch.testing.assert_close(turn @ turn.T, torch.eye(160, dtype=torch.float64))
    monkeypatch.setattr(calibration, "rotation", lambda *_: turn)
    asked = {"repetitions": 1, "seed": 1, "level": 0.05, "cut": -2.0}
    found = list(calibration.null_tests(rows, W_U, sets, nulls=nulls, **asked))[-1]
    # As deltas turn by Q, so do rows by its transpose; C is turned with them.
    turned = rows @ turn
    expected = enrichment.set_statistics(turned, W_U, sets, nulls=nulls)
    assert found.kind == "turned" and found.z is not None
    np.testing.assert_allclose(found.z, expected.z.numpy(), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(found.t, expected.t.numpy(), rtol=1e-3, atol=1e-3)
    # Turned null directions are others, drawn from the same distribution; what may be called has its p, and
    # p of anything else is at most that.
    low = found.log10_p <= -2
    off = found.log10_p - expected.log10_p.numpy()
    assert low.any() and np.abs(np.median(off[low])) < 0.1
    assert np.median(off[~low]) <= 0.02


def test_what_is_found_where_there_is_nothing_can_be_stored(real, tmp_path):
    frame = null_frames.null_discoveries_frame(real, "a", level=0.05, cut=-5.0)
    for table, own in ((NULL_DISCOVERIES, frame), (NULL_LEVEL, null_frames.null_level_frame(frame))):
        tables.write(own, tmp_path / table.name, table, {})
        pd.testing.assert_frame_equal(tables.read(tmp_path / table.name, table), own)
    names = mini_sets()[0]
    features = calibration.checked_features(1536).numpy()
    first = [one for one in real if one.z is not None]
    p_values = pd.concat(null_frames.null_p_values_frame(one, features, names, "a") for one in first)
    tables.write(p_values.reset_index(drop=True), tmp_path / "p", NULL_P_VALUES, {})
    assert (p_values["kind"].value_counts() == calibration.FEATURES * len(names)).all()
    assert set(p_values["kind"]) == {"shuffled", "turned"}
    # Turning leaves the tokens of a set together, which the textbook takes for independent.
    below = p_values.set_index("kind")["log10_p_z"] < np.log10(0.05)
    assert below.loc["turned"].mean() > 0.4 and below.loc["shuffled"].mean() < 0.06


def test_level_of_repetitions():
    # 5 of 20 repetitions are more than chance allows (4), 9 of 40 more than 6 (P of 6 or fewer is .997).
    own = [[3] * 5 + [0] * 15, [1] * 4 + [0] * 16]
    frame = pd.concat(
        pd.DataFrame({"sae": sae, "own": counts, "student": 1, "kind": "random", "tokens": 5, "level": 0.05})
        for sae, counts in zip("ab", own, strict=True)
    ).astype({"tokens": "Int64"})
    found = null_frames.null_level_frame(frame)
    assert found["wrong"].tolist() == [5, 4, 9]
    assert found["most"].tolist() == [4, 4, 6]
    assert found["kept"].tolist() == [False, True, False]
    assert found["wrong_student"].tolist() == found["repetitions"].tolist() == [20, 20, 40]
    assert found["sae"].isna().tolist() == [False, False, True]
