"""Each kind of prediction on a worked example, where it holds and where it fails, and against slow twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fsrl.errors import FsrlError
from fsrl.predictions.kinds import spearman
from tests.fixtures.prediction_examples import layer, of_labels, prediction

TYPED = {"label": {"scheme": "s", "any": ["typed"]}}
LAYERS = ["a", "b", "c", "d"]


def test_a_value_is_near_or_off():
    test = prediction(
        "value",
        sae="a",
        feature=1,
        values={"std": 0.2, "kurtosis": 4.0},
        tolerances={"std": 0.01, "kurtosis": 0.1},
    ).test
    assert test.saes == ("a",) and test.schemes == ()
    assert test.expected == "feature 1: std 0.2 ± 0.01, kurtosis 4 ± 0.1"

    def judged(std, kurtosis):
        return test.judge([layer(std=np.array([9, std]), kurtosis=np.array([9, kurtosis]))])

    # Both ends are within.
    for std, kurtosis in ((0.2, 4.0), (0.21, 3.9), (0.19, 4.1)):
        assert judged(std, kurtosis).held
    found = judged(0.215, 4.05)
    assert not found.held and found.found == "std 0.215 (off), kurtosis 4.05"
    found = judged(0.2, np.nan)
    assert not found.held and found.found == "std 0.2, kurtosis null (off)"


def test_a_label_is_one_of_those_named():
    test = prediction("label", sae="a", feature=2, scheme="s", labels=["partition", "suppression"]).test
    assert test.schemes == ("s",) and test.expected == "feature 2 is partition or suppression (s)"
    for label, held in {
        "partition": True,
        "suppression": True,
        "prediction": False,
        "degenerate": False,
    }.items():
        own = layer(labels={"s": ["partition", "partition", label]}, std=np.ones(3))
        found = test.judge([own])
        assert (found.held, found.found) == (held, label)


def test_a_quantile_is_the_share_of_the_others_below():
    # Of 11 rows row 0 is the lowest, row 4 has four of ten others below.
    std = np.arange(11) / 10
    for within, at_least, held in (
        ({"max": 0.4}, 2, True),
        ({"max": 0.39}, 2, False),
        ({"max": 0.39}, 1, True),
        ({"min": 0.1, "max": 0.4}, 1, True),
        ({"min": 0.5}, 1, False),
    ):
        test = prediction(
            "quantile", sae="a", features=[0, 4], column="std", at_least=at_least, **within
        ).test
        found = test.judge([layer(std=std)])
        assert found.held == held and found.found.endswith("0 at 0, 4 at 0.4")
    # All of them, where it does not say.
    assert (
        not prediction("quantile", sae="a", features=[0, 4], column="std", max=0.3)
        .test.judge([layer(std=std)])
        .held
    )


@given(st.lists(st.sampled_from([np.nan, 0.0, 1.0, 2.0, 3.0]), min_size=2, max_size=9), st.data())
def test_quantiles_against_counting(values, data):
    feature = data.draw(st.integers(0, len(values) - 1))
    test = prediction("quantile", sae="a", features=[feature], column="skewness", max=0.5).test
    found = test.judge([layer(skewness=np.array(values))])
    others = [value for row, value in enumerate(values) if row != feature and not np.isnan(value)]
    below = sum(value < values[feature] for value in others)
    held = not np.isnan(values[feature]) and below <= 0.5 * len(others)
    assert found.held == held


def test_counts_and_shares_go_over_all_layers():
    layers = [layer(kurtosis=np.array([9.0, 10.0, 11.0, 12.0])), layer(kurtosis=np.array([13.0, np.nan]))]
    beyond = {"kurtosis": {"above": 10}}
    for kind, within, held, words in (
        ("count", {"min": 3, "max": 3}, True, "3 of 6 rows"),
        ("count", {"min": 4}, False, "3 of 6 rows"),
        ("count", {"max": 2}, False, "3 of 6 rows"),
        ("share", {"min": 0.5, "max": 0.5}, True, "0.5 (3 of 6)"),
        ("share", {"max": 0.49}, False, "0.5 (3 of 6)"),
    ):
        found = prediction(kind, saes=["a", "b"], where=beyond, **within).test.judge(layers)
        assert (found.held, found.found) == (held, words)
    # Of the three beyond 10 two are below 13.
    among = prediction(
        "share", saes=["a", "b"], among=beyond, where={"kurtosis": {"below": 13}}, min=0.6
    ).test
    assert among.judge(layers).found == "0.6667 (2 of 3)" and among.judge(layers).held
    none = prediction("share", saes=["a"], among={"kurtosis": {"above": 99}}, where=beyond, max=1).test
    assert not none.judge(layers[1:]).held and none.judge(layers[1:]).found == "no row with kurtosis > 99"


def test_a_trend_follows_the_layers_in_the_order_given():
    def judged(counts, direction="rising", rho=0.8):
        test = prediction("trend", saes=LAYERS, where=TYPED, direction=direction, rho=rho).test
        assert test.schemes == ("s",)
        return test.judge([of_labels(sae, 10, prediction=n) for sae, n in zip(LAYERS, counts, strict=True)])

    # One exchange of neighbours among four: 1 - 6 * 2 / (4 * 15) = 0.8, which is enough.
    found = judged([1, 2, 4, 3])
    assert found.held and found.found == "0.800; shares 0.1, 0.2, 0.4, 0.3"
    assert not judged([1, 2, 4, 3], rho=0.81).held and not judged([1, 2, 4, 3], "falling").held
    assert judged([4, 3, 2, 1], "falling", 1).held and not judged([4, 3, 2, 1]).held
    flat = judged([2, 2, 2, 2])
    assert not flat.held and flat.found == "no trend: every share is 0.2"


def test_a_trend_of_a_share_of_nothing_is_none():
    test = prediction(
        "trend", saes=LAYERS, among=TYPED, where={"skewness": {"min": 0}}, direction="rising", rho=0.1
    ).test
    found = test.judge(
        [of_labels(sae, 4, prediction=number % 2) for number, sae in enumerate(LAYERS, start=1)]
    )
    assert not found.held and found.found == "b has no row to look at"


@given(st.lists(st.integers(0, 5), min_size=3, max_size=13).filter(lambda values: len(set(values)) > 1))
def test_spearman_is_scipys(values):
    expected = stats.spearmanr(values, range(len(values))).statistic
    assert spearman(np.array(values, dtype=float)) == pytest.approx(expected)


@given(st.permutations(range(12)))
def test_rows_in_another_order_change_nothing_that_counts_rows(order):
    values = np.array([9.0, 10.0, 11.0, 12.0, np.nan, 3.0, 2.0, 1.0, 14.0, 10.5, 0.0, 99.0])
    where = {"kurtosis": {"above": 10}}
    for kind, more in (("count", {"min": 5}), ("share", {"min": 0.1, "among": {"kurtosis": {"above": 1}}})):
        test = prediction(kind, saes=["a"], where=where, **more).test
        assert test.judge([layer(kurtosis=values)]) == test.judge([layer(kurtosis=values[list(order)])])


FAULTS = {
    "no bound": ("count", {"saes": ["a"], "where": TYPED}, "neither min nor max"),
    "bounds exchanged": ("share", {"saes": ["a"], "where": TYPED, "min": 0.5, "max": 0.4}, "exchange them"),
    "no tolerance": (
        "value",
        {"sae": "a", "feature": 0, "values": {"std": 1.0}, "tolerances": {"mean": 1.0}},
        "std has no tolerance",
    ),
    "more than there are": (
        "quantile",
        {"sae": "a", "features": [1], "column": "std", "max": 0.1, "at_least": 2},
        "at_least 2 of 1 features",
    ),
    "no label": (
        "label",
        {"sae": "a", "feature": 0, "scheme": "s", "labels": ["partitions"]},
        "did you mean",
    ),
    "no label in a condition": (
        "count",
        {"saes": ["a"], "where": {"label": {"scheme": "s", "any": ["all"]}}, "min": 1},
        "unknown label 'all'",
    ),
    "three layers": (
        "trend",
        {"saes": ["a", "b", "c"], "where": TYPED, "direction": "rising", "rho": 0.5},
        "a trend over 3 layers; name at least 4",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_makes_no_sense_is_one_line_that_names_the_prediction(name):
    kind, keys, said = FAULTS[name]
    with pytest.raises(FsrlError, match="predictions.ours: ") as caught:
        prediction(kind, **keys)
    assert said in str(caught.value) and "\n" not in str(caught.value)
