"""Forecasts held against scores: SciPy's correlation, counting pairs, and made-up tables with a known
answer."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fsrl.steering import forecast
from fsrl.tables import core as tables
from fsrl.tables.steering import FEATURE, FORECASTS, RANDOM
from tests.fixtures.steering_tables import steering_table

ROW = st.lists(st.integers(0, 4), min_size=4, max_size=9)


@given(ROW, st.randoms(use_true_random=False))
def test_auc_counts_pairs(values, random):
    positive = np.array([random.random() < 0.5 for _ in values])
    found = forecast._auc(np.array([values], dtype=float), positive[None])[0]
    pairs = [
        (a > b) + (a == b) / 2
        for a, above in zip(values, positive, strict=True)
        if above
        for b, other in zip(values, positive, strict=True)
        if not other
    ]
    assert np.isnan(found) if not pairs else found == pytest.approx(np.mean(pairs))


def test_spearman_is_scipys():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 6, (5, 12)).astype(float), rng.standard_normal((5, 12))
    found = forecast._spearman(one, other)
    for a, b, value in zip(one, other, found, strict=True):
        assert value == pytest.approx(spearmanr(a, b).statistic)


def test_what_a_table_holds_by_hand(tmp_path):
    frame = steering_table(n=30, seed=1)
    table = forecast.summarise({"a": frame, "b": frame}, seed=0, draws=200)
    tables.write(table, tmp_path / "forecasts.parquet", FORECASTS, {})
    assert table[["sae", "direction", "weights"]].drop_duplicates().shape[0] == len(table) == 8
    part = frame[(frame["direction"] == FEATURE)].dropna(subset=["output_score"])
    random = frame[(frame["direction"] == RANDOM)].dropna(subset=["output_score"])
    rows = table[(table["sae"] == "a") & (table["direction"] == FEATURE)].set_index("weights")
    assert (rows["directions"] == len(part)).all() and len(part) < 30
    for weights in ("direct", "transported"):
        expected = spearmanr(part[f"{weights}_forecast"], part["output_score"]).statistic
        assert rows.loc[weights, "spearman"] == pytest.approx(expected)
        assert rows.loc[weights, "spearman_low"] < expected < rows.loc[weights, "spearman_high"]
        chance = spearmanr(random[f"{weights}_forecast"], random["output_score"]).statistic
        assert rows.loc[weights, "spearman_over_random"] == pytest.approx(expected - chance)
    gain = rows.loc["transported", "spearman"] - rows.loc["direct", "spearman"]
    assert rows.loc["transported", "spearman_gain"] == pytest.approx(gain)
    assert np.isnan(rows.loc["direct", "spearman_gain"])
    own = part["transported_score"].to_numpy()[:, None] - random["transported_score"].to_numpy()
    assert rows.loc["transported", "over_random"] == pytest.approx((own > 0).mean() + (own == 0).mean() / 2)
    of_random = table.loc[table["direction"] == RANDOM, ["over_random", "spearman_over_random"]]
    assert of_random.isna().all(axis=None)


def test_a_good_forecast_and_none_are_told_apart():
    frame = steering_table(n=60, seed=2)
    frame["direct_forecast"] = frame["output_score"] ** 2
    frame["transported_forecast"] = np.random.default_rng(3).random(len(frame))
    table = forecast.summarise({"a": frame}, seed=0, draws=200).set_index(["direction", "weights"])
    direct, none = table.loc[(FEATURE, "direct")], table.loc[(FEATURE, "transported")]
    assert direct["spearman"] == 1 and direct["auc"] == 1
    assert none["spearman_low"] < 0.2 and none["spearman_gain_high"] < 0


def test_a_forecast_is_no_better_than_over_random_directions_where_these_are_alike():
    """A feature goes with its random direction: what both have in common is no part of the difference."""
    frame = steering_table(n=60, seed=6)
    for name in ("output_score", "direct_forecast"):
        values = frame.loc[frame["direction"] == FEATURE, name].to_numpy()
        frame.loc[frame["direction"] == RANDOM, name] = values
    row = forecast.summarise({"a": frame}, seed=0, draws=200).set_index(["direction", "weights"])
    alike = row.loc[(FEATURE, "direct"), [f"spearman_over_random{end}" for end in ("", "_low", "_high")]]
    assert (alike.astype(float) == 0).all()
    frame.loc[frame["direction"] == RANDOM, "direct_forecast"] = np.random.default_rng(0).random(60)
    row = forecast.summarise({"a": frame}, seed=0, draws=200).set_index(["direction", "weights"])
    assert row.loc[(FEATURE, "direct"), "spearman_over_random_low"] > 0


def test_without_transport_its_rows_are_null():
    frame = steering_table(n=20, seed=4).assign(transported_score=np.nan, transported_forecast=np.nan)
    table = forecast.summarise({"a": frame}, seed=0, draws=50)
    of = [name for name, column in FORECASTS.columns.items() if column.dtype == "float64"]
    assert table.loc[table["weights"] == "transported", of].isna().all(axis=None)
    assert table.loc[table["weights"] == "direct", "spearman"].notna().all()


@pytest.mark.parametrize("n", [0, 2])
def test_a_layer_of_almost_nothing_has_no_figures(n):
    frame = steering_table(n=8, seed=5)
    frame.loc[frame["feature"] >= n, "output_score"] = np.nan
    table = forecast.summarise({"a": frame}, seed=0, draws=50)
    assert (table["directions"] == n).all() and table["spearman"].isna().all()
    assert isinstance(table, pd.DataFrame) and len(table) == 4
