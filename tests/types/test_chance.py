"""Counts beside those of chance, by hand and against loops; intervals; thresholds; nulls are not typed."""

import numpy as np
import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.names import TYPES
from fsrl.tables import core as tables
from fsrl.tables import types as type_tables
from fsrl.tables.types import THRESHOLDS, TYPE_COUNTS, TYPE_NULL_COUNTS
from fsrl.types import chance, classify
from tests.fixtures.type_examples import NULL, SCHEMES, null_table, random_tables, table, typings, under

RULES = {"s": {"types": {"prediction": {"skewness": {"min": 0.5}}, "partition": {"kurtosis": {"max": 2.5}}}}}


def alone(rows):
    return np.arange(len(rows))


def directions(generator, n):
    """A null table of n directions: skewed, each side with a tail of its own."""
    right, left = 1.5 + generator.gamma(2, 0.3, (2, n))
    sides = {"right_kurtosis": right, "left_kurtosis": left, "kurtosis": right + left}
    more = {"right_eighth": right**4, "left_eighth": left**4, "right_share": np.full(n, 0.5)}
    return null_table(skewness=generator.standard_t(6, n) * 0.3, **sides, **more)


def test_counts_by_hand(tmp_path):
    moments = table(skewness=[0.6, 0.6, 0.4, -1.0], kurtosis=[3.0, 2.0, 2.0, 3.0])
    narrow = null_table(skewness=[0.6, 0.0, 0.0, 0.0], kurtosis=[2.0, 2.0, 3.0, 3.0])
    wide = null_table("spectrum", skewness=[0.6, 0.0], kurtosis=[3.0, 3.0])
    other = null_table("second_moment", skewness=[0.6], kurtosis=[3.0])
    (typing,) = typings(moments, RULES)
    by_chance = chance.chance(typing, pd.concat([narrow, wide, other]))
    found = chance.type_null_counts(typing, by_chance)
    at = found.set_index(["type", "kind"])
    assert at.loc[("prediction", "isotropic")].to_dict() == {
        "scheme": "s", "draws": 4, "features": 2, "expected": 1.0, "expected_at_bounds": 1.0,
        "null_share": 0.25, "members": 2, "member_expected": 1.0, "member_null_share": 0.25,
    }  # fmt: skip
    assert at.loc[("prediction", "spectrum"), ["draws", "expected", "null_share"]].tolist() == [2, 2.0, 0.5]
    assert at.loc[("prediction", "second_moment"), "null_share"] == 1.0
    partition = at.loc[("partition", "isotropic")]
    assert (partition["features"], partition["members"]) == (1, 2)
    assert (partition["null_share"], partition["member_null_share"]) == (0.25, 0.5)
    # The table of counts takes the bounding null that gives most, type by type.
    most = chance.type_counts(typing, by_chance, alone(moments), seed=0).set_index("type")
    assert most["null_share"].tolist() == [0.5, 0.25, 0.5, 0.0]
    assert most.loc["prediction", ["expected", "expected_at_bounds"]].tolist() == [2.0, 2.0]
    assert most.loc["partition", "member_null_share"] == 0.5
    tables.write(found, tmp_path / "t", TYPE_NULL_COUNTS, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "t", TYPE_NULL_COUNTS), found)


def test_fresh_directions_are_taken_in_sets_as_large_as_the_layer():
    # One of a thousand is far out: p = 1e-4 is significant in a set of ten and not in one of a thousand.
    far = np.zeros(1005)
    far[[3, 1004]] = 50.0
    fresh = null_table(skewness=far)
    (few,) = typings(table(skewness=np.zeros(10)), {"calibrated": SCHEMES["calibrated"]}, NULL)
    counted = chance.chance(few, fresh)["isotropic"]
    assert counted.draws == 1000  # whole sets only
    assert counted.as_layers["prediction"] == (1, 1)
    (many,) = typings(table(skewness=np.zeros(1000)), {"calibrated": SCHEMES["calibrated"]}, NULL)
    assert chance.chance(many, fresh)["isotropic"].as_layers["prediction"] == (0, 0)
    # Fewer than features: one set of all of them.
    (huge,) = typings(table(skewness=np.zeros(5000)), {"calibrated": SCHEMES["calibrated"]}, NULL)
    assert chance.chance(huge, fresh)["isotropic"].draws == 1005


def test_by_the_layers_own_bounds_more_is_chance_where_more_was_found():
    # Half of the layer lies far out, so p of .05 / 2 is significant in it: skewness .95 of NULL's 1.
    layer = table(skewness=[*np.full(50, 50.0), *np.full(50, 0.96)])
    (typing,) = typings(layer, {"calibrated": SCHEMES["calibrated"]}, NULL)
    assert (typing.own().primary == "prediction").all()
    fresh = null_table(skewness=np.linspace(-1, 1, 1000))
    counted = chance.chance(typing, fresh)["isotropic"]
    assert counted.as_layers["prediction"][0] == 0
    assert counted.at_bounds["prediction"][0] == pytest.approx(1000 * 0.04 / 2, abs=2)


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_the_labels(seed, tmp_path):
    moments, null = random_tables(seed)
    found = under("type_counts", moments, SCHEMES, null, d_model=50)
    types = under("types", moments, SCHEMES, null, d_model=50)
    for (scheme, name), row in found.set_index(["scheme", "type"]).iterrows():
        mine = types[types["scheme"] == scheme]
        assert row["features"] == (mine["type"] == name).sum()
        assert row["members"] == (mine[name].sum() if name in TYPES else row["features"])
        assert row["share"] == pytest.approx(row["features"] / 300)
        assert row["expected"] == pytest.approx(row["null_share"] * 300)
        assert row["low"] <= row["high"]
    assert found.groupby("scheme")["features"].sum().tolist() == [300] * 3
    for frame, spec in ((found, TYPE_COUNTS), (types, type_tables.TYPES)):
        tables.write(frame, tmp_path / spec.name, spec, {})
        pd.testing.assert_frame_equal(tables.read(tmp_path / spec.name, spec), frame)


def test_counts_have_a_row_for_each_type_of_the_scheme_even_if_empty():
    found = under("type_counts", table(kurtosis=[3.0]), SCHEMES, NULL, d_model=50)
    of = {scheme: part["type"].tolist() for scheme, part in found.groupby("scheme")}
    rest = ["unclassified", "degenerate"]
    assert of["universal_neurons"] == ["prediction", "suppression", "partition", *rest]
    assert of["calibrated"] == [*TYPES, *rest]
    assert found["features"].sum() == 3


def test_interval_of_independent_features_is_binomial():
    # 200 of 1,000 rows far beyond the null, which does not matter then: only the features are drawn again.
    moments = table(skewness=[*np.full(200, 50.0), *np.zeros(800)])
    (typing,) = typings(moments, {"calibrated": SCHEMES["calibrated"]}, NULL)
    low, high = chance.intervals(typing, alone(moments), seed=0, draws=400)["prediction"]
    assert (low, high) == pytest.approx((200 - 1.96 * 12.65, 200 + 1.96 * 12.65), abs=6)
    # Twenty clusters of ten copies vary sqrt(10) times as much.
    clusters = np.concatenate([np.repeat(np.arange(20), 10), 20 + np.arange(800)])
    low, high = chance.intervals(typing, clusters, seed=0, draws=400)["prediction"]
    spread = 1.96 * np.sqrt(10 * 200 * (1 - 20 / 820))
    assert (low, high) == pytest.approx((200 - spread, 200 + spread), abs=20)


def test_interval_holds_what_the_nulls_draws_leave_open():
    # Features lie at the edge of significance: other draws of the null would type more or fewer.
    generator = np.random.default_rng(0)
    null = directions(generator, 2000)
    moments = table(skewness=generator.standard_normal(1000), kurtosis=4.0)
    (typing,) = typings(moments, {"calibrated": SCHEMES["calibrated"]}, null)
    every = typing.moments
    again = chance._Again(typing)
    counts = [(again.labels(alone(every), generator) == "prediction").sum() for _ in range(200)]
    slow = []
    for _ in range(60):
        drawn = null.iloc[generator.integers(len(null), size=len(null))]
        (other,) = typings(moments, {"calibrated": SCHEMES["calibrated"]}, drawn)
        slow.append((other.own().primary == "prediction").sum())
    assert np.std(counts) > 0
    assert np.mean(counts) == pytest.approx(np.mean(slow), abs=4 * np.std(slow))
    assert 0.3 < np.std(counts) / np.std(slow) < 2


def test_fresh_draws_of_the_null_are_hardly_ever_typed():
    generator = np.random.default_rng(1)
    moments = directions(generator, 1000).drop(columns=["kind", "draw"])
    null = directions(generator, 20000)
    (typing,) = typings(moments, {"calibrated": SCHEMES["calibrated"]}, null)
    counted = chance.chance(typing, directions(generator, 40000))["isotropic"]
    typed = sum(counted.as_layers[name][0] for name in TYPES) / counted.draws
    assert typed <= 0.01


def test_counting_needs_a_bounding_null_and_clusters_of_these_features():
    (typing,) = typings(table(kurtosis=[3.0]), RULES)
    with pytest.raises(FsrlError, match="scheme s: no fresh directions of isotropic or spectrum to count"):
        chance.type_counts(
            typing, chance.chance(typing, NULL.assign(kind="second_moment")), np.arange(1), seed=0
        )
    with pytest.raises(FsrlError, match="scheme s: clusters of 2 features, but moments of 1"):
        chance.type_counts(typing, chance.chance(typing, NULL), np.arange(2), seed=0)


def test_thresholds_of_every_kind_of_bound(tmp_path):
    moments, null = random_tables(0)
    moments.loc[moments.index[moments["kurtosis"].notna()][:40], "kurtosis"] = 0.1
    found = under("thresholds", moments, SCHEMES, null, d_model=50)
    at = found.set_index(["scheme", "type", "column", "word"])
    shaped = moments.dropna(subset=["skewness"])
    ninth = shaped["kurtosis"].quantile(0.9)
    assert at.loc[("post", "local_context", "kurtosis", "min"), "threshold"] == ninth
    width = (shaped["std"] / shaped["norm"]).quantile(0.95)
    assert at.loc[("post", "prediction", "std", "below"), "threshold"] == pytest.approx(width)
    assert at.loc[("universal_neurons", "partition", "variance_x_d_model", "above"), "threshold"] == 5.12
    # The threshold of a tail tells the significant features from the others.
    types = under("types", moments, {"calibrated": SCHEMES["calibrated"]}, null)
    flat = at.loc[("calibrated", "partition", "kurtosis", "max")]
    assert ((moments["kurtosis"] <= flat["threshold"]) == types["partition"]).all()
    skew, side = (
        at.loc[("calibrated", "prediction", name, "min")] for name in ("skewness", "right_kurtosis")
    )
    beyond = (moments["skewness"] >= skew["threshold"]) | (moments["right_kurtosis"] >= side["threshold"])
    assert (beyond == types["prediction"]).all()
    assert types["prediction"].any() and types["partition"].any()
    assert (skew["bound"], skew["kind"]) == ("q<=0.05", "isotropic")
    assert at.loc[("calibrated", "local_context", "tail_tokens", "max"), "threshold"] == 20
    tables.write(found, tmp_path / "t", THRESHOLDS, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "t", THRESHOLDS), found)


def by_hand(rows, features, d_model):
    """The schemes of rules once more, as plain comparisons."""
    known = features.dropna(subset=["skewness"])
    w = (known["std"] / known["norm"]).quantile([0.25, 0.5, 0.75, 0.95])
    k = known["kurtosis"].quantile([0.25, 0.5, 0.9])
    skewed = known["skewness"].quantile(0.9)
    for row in rows.itertuples():
        width, skew, kurt = row.std / row.norm, row.skewness, row.kurtosis
        yield {
            "post": {
                "local_context": kurt >= k[0.9] and width <= w[0.5],
                "prediction": skew >= skewed and w[0.25] < width < w[0.95],
                "suppression": skew < 0 and kurt <= k[0.5],
                "partition": width >= w[0.75] and skew >= 0 and kurt <= k[0.25],
            },
            "universal_neurons": {
                "local_context": False,
                "prediction": kurt > 10 and skew > 0,
                "suppression": kurt > 10 and skew < 0,
                "partition": width**2 * d_model > 5.12 and kurt < 3,
            },
        }


@pytest.mark.parametrize("seed", range(3))
def test_rules_against_brute_force(seed):
    moments, _ = random_tables(seed)
    for name in ("post", "universal_neurons"):
        (typing,) = typings(moments, {name: SCHEMES[name]}, d_model=50)
        found = classify.types(typing)
        for rules, row in zip(by_hand(moments, moments, 50), found.itertuples(), strict=True):
            met = [label for label, holds in rules[name].items() if holds]
            assert [label for label in rules[name] if getattr(row, label)] == met
            if row.type != "degenerate":
                assert row.type == (met[0] if met else "unclassified")
