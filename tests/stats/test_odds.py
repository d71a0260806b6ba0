"""Odds ratios with cluster bootstrap, and clusters of decoder rows: by hand, by loops, by simulation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.stats import odds as enrichment_odds


def table(significant, types, clusters, draws=200, seed=0):
    return enrichment_odds.odds_ratios(significant, types, clusters, draws=draws, seed=seed)


def by_hand(a, b, c, d):
    """Each count of a group with the group's share of all features added."""
    mine, others = (a + b) / (a + b + c + d), (c + d) / (a + b + c + d)
    return (a + mine) * (d + others) / ((b + mine) * (c + others))


def test_worked_example():
    significant = np.array([[True]] * 9 + [[False]] + [[True]] + [[False]] * 9)
    types = ["prediction"] * 10 + ["unclassified"] * 10
    frame = table(significant, types, np.arange(20))
    row = frame.iloc[0]
    assert len(frame) == 1
    assert (row["n_type"], row["n_unclassified"], row["k_type"], row["k_unclassified"]) == (10, 10, 9, 1)
    assert row["odds_ratio"] == pytest.approx(9.5 * 9.5 / (1.5 * 1.5))
    assert row["clusters"] == 10
    assert 1 < row["low"] < row["odds_ratio"] < row["high"]


def test_every_count_and_ratio_by_loops():
    generator = np.random.default_rng(0)
    significant = generator.random((300, 7)) < 0.2
    types = generator.choice(["unclassified", "partition", "local_context", "degenerate"], 300)
    clusters = generator.integers(50, 120, 300)
    frame = table(torch.from_numpy(significant), types, clusters)
    assert frame["type"].unique().tolist() == ["degenerate", "local_context", "partition"]
    for _, row in frame.iterrows():
        inside, rest = types == row["type"], types == "unclassified"
        a, c = significant[inside, row["set"]].sum(), significant[rest, row["set"]].sum()
        b, d = inside.sum() - a, rest.sum() - c
        assert (row["k_type"], row["k_unclassified"]) == (a, c)
        assert (row["n_type"], row["n_unclassified"]) == (a + b, c + d)
        assert row["odds_ratio"] == pytest.approx(by_hand(a, b, c, d))
        assert row["clusters"] == len(set(clusters[inside]))


@pytest.mark.parametrize(("n_type", "tolerance"), [(30, 0.1), (4, 0.25)])
def test_interval_is_that_of_a_bootstrap_by_loops(n_type, tolerance):
    generator = np.random.default_rng(1)
    significant = generator.random((60, 2)) < 0.4
    significant[:2] = [[True, False], [False, True]]  # not all or none of the type
    types = np.where(np.arange(60) < n_type, "partition", "unclassified")
    clusters = generator.integers(0, 25, 60)
    frame = table(significant, types, clusters, draws=4000)
    names, ratios = np.unique(clusters), []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(clusters == c) for c in generator.choice(names, len(names))])
        inside, flags = types[rows] == "partition", significant[rows]
        a, c = flags[inside].sum(0), flags[~inside].sum(0)
        if inside.any():
            ratios.append(by_hand(a, inside.sum() - a, c, (~inside).sum() - c))
    low, high = np.quantile(ratios, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(frame["low"], low, rtol=tolerance)
    np.testing.assert_allclose(frame["high"], high, rtol=tolerance)


def test_draws_without_the_type_say_nothing():
    # 6 of 8 features in two clusters are significant, 10 of 100 others are: 13 % of draws lack the two.
    significant = (np.arange(108) % 4 < 3) & (np.arange(108) < 8) | (np.arange(108) >= 98)
    types = np.where(np.arange(108) < 8, "partition", "unclassified")
    clusters = np.where(np.arange(108) < 8, np.arange(108) // 4, np.arange(108))
    row = table(significant[:, None], types, clusters, draws=2000).iloc[0]
    assert 5 < row["low"] < by_hand(6, 2, 10, 90) == pytest.approx(row["odds_ratio"])


def test_copies_of_a_feature_narrow_nothing():
    generator = np.random.default_rng(2)
    significant = generator.random((80, 1)) < 0.3
    types = np.array(["partition", "unclassified"] * 40)
    once = table(significant, types, np.arange(80), draws=2000).iloc[0]
    copies = {"significant": np.repeat(significant, 10, axis=0), "types": np.repeat(types, 10)}
    honest = table(**copies, clusters=np.repeat(np.arange(80), 10), draws=2000).iloc[0]
    naive = table(**copies, clusters=np.arange(800), draws=2000).iloc[0]

    def width(row):
        return np.log(row["high"] / row["low"])

    assert width(honest) == pytest.approx(width(once), rel=0.2)
    assert width(naive) < 0.5 * width(honest)


@pytest.mark.parametrize("chance", [0.003, 0.01, 0.3])
@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("sizes", [([1] * 20, [1] * 1200), ([1, 1, 2, 4] * 10, [1] * 900)])
def test_without_a_difference_few_intervals_leave_out_one(sizes, copies, chance):
    """A set is a run. Half a feature added to each count: up to 18 % left out where they are rare."""
    generator = np.random.default_rng(5)
    clusters = np.repeat(np.arange(len(sizes[0]) + len(sizes[1])), [*sizes[0], *sizes[1]])
    types = np.where(np.arange(len(clusters)) < sum(sizes[0]), "partition", "unclassified")
    own = clusters if copies else np.arange(len(clusters))
    frame = table(generator.random((len(clusters), 400))[own] < chance, types, clusters)
    left_out = ((frame["low"] > 1) | (frame["high"] < 1)).mean()  # one that is null leaves out nothing
    assert left_out <= 0.09 and (chance < 0.3 or left_out > 0.01)


def test_seed_decides_and_order_of_features_does_not():
    generator = np.random.default_rng(3)
    significant = generator.random((100, 3)) < 0.3
    types = generator.choice(["partition", "unclassified"], 100)
    clusters = generator.integers(0, 40, 100)
    frame = table(significant, types, clusters)
    assert frame.equals(table(significant, types, clusters))
    assert not frame.equals(table(significant, types, clusters, seed=1))
    order = generator.permutation(100)
    assert frame.equals(table(significant[order], types[order], clusters[order]))


def test_odds_without_events_say_nothing():
    flags = np.zeros((40, 5), dtype=bool)
    flags[:5, 1] = True  # of the type alone
    flags[[0, 25], 2] = True
    flags[:, 3] = True
    flags[:10, 4] = True  # all of the type and none of the others
    types = ["prediction"] * 10 + ["unclassified"] * 30
    odds = table(flags, types, np.arange(40), draws=50)
    # The bootstrap would be certain of a ratio of 1 where nothing at all, or everything, was seen.
    assert odds.loc[[0, 3], ["odds_ratio", "low", "high"]].isna().all(axis=None)
    assert odds["odds_ratio"][1] == pytest.approx(by_hand(5, 5, 0, 30))
    assert odds["odds_ratio"][4] == pytest.approx(by_hand(10, 0, 0, 30))
    assert odds.loc[[1, 4], ["low", "high"]].isna().all(axis=None)
    assert np.isfinite(odds.loc[2, ["odds_ratio", "low", "high"]].astype(float)).all()


def test_what_cannot_be_said_is_null():
    significant = np.array([[True], [False], [True]] * 2)
    alone = table(significant, ["partition"] * 3 + ["unclassified"] * 3, np.array([0, 0, 0, 1, 2, 3])).iloc[0]
    assert np.isfinite(alone["odds_ratio"])
    assert np.isnan(alone["low"]) and np.isnan(alone["high"])
    nothing = table(significant, ["partition"] * 6, np.arange(6)).iloc[0]
    assert nothing["n_unclassified"] == 0
    assert np.isnan(nothing[["odds_ratio", "low", "high"]].astype(float)).all()
    assert len(table(significant, ["unclassified"] * 6, np.arange(6))) == 0


def test_what_is_refused():
    significant = np.ones((6, 1), dtype=bool)
    with pytest.raises(FsrlError, match="for 5 types and 6 clusters"):
        table(significant, ["partition"] * 5, np.arange(6))
    with pytest.raises(FsrlError, match="significant is int64"):
        table(significant.astype(np.int64), ["partition"] * 6, np.arange(6))
    with pytest.raises(FsrlError, match="draws from 1, seed from 0"):
        table(significant, ["partition"] * 6, np.arange(6), draws=0)


@given(seed=st.integers(0, 10**6), threshold=st.floats(0.3, 0.95), block=st.sampled_from([1, 7, 1000]))
@settings(max_examples=30, deadline=None)
def test_clusters_by_loops(seed, threshold, block):
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(seed)) * 5
    rows[3] = 0
    unit = rows / rows.norm(dim=1, keepdim=True)
    cosines = unit.double() @ unit.double().T
    if (cosines - threshold).abs().min() < 1e-5:
        return
    expected = list(range(40))
    for i in range(40):
        for j in range(40):
            if cosines[i, j] > threshold and expected[i] != expected[j]:
                old = expected[j]
                expected = [expected[i] if label == old else label for label in expected]
    default, enrichment_odds.ROWS_PER_BLOCK = enrichment_odds.ROWS_PER_BLOCK, block
    try:
        found = enrichment_odds.decoder_clusters(rows, threshold=threshold)
    finally:
        enrichment_odds.ROWS_PER_BLOCK = default
    same = found[:, None] == found[None]
    assert (same == (np.array(expected)[:, None] == np.array(expected)[None])).all()
    assert sorted(set(found)) == list(range(len(set(found))))
    assert found.dtype == np.int64


def test_a_chain_of_similar_rows_is_one_cluster():
    angles = torch.arange(0, 180, 10) * torch.pi / 180
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert set(enrichment_odds.decoder_clusters(rows, threshold=0.98)) == {0}  # cos 10 degrees is .985
    assert len(set(enrichment_odds.decoder_clusters(rows, threshold=0.99))) == 18


def test_bad_thresholds_are_refused():
    for threshold in (0.0, 1.0, 1.5):
        with pytest.raises(FsrlError, match="a cosine between 0 and 1"):
            enrichment_odds.decoder_clusters(torch.eye(3), threshold=threshold)
