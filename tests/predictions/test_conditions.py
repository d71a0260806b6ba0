"""Conditions on rows, ranges, and rows that are not there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.predictions.conditions import Condition, Layer, Range, have_label
from tests.fixtures.prediction_examples import layer

VALUES = st.lists(st.one_of(st.just(np.nan), st.sampled_from([-1.0, 0.0, 0.5, 1.0])), min_size=1, max_size=12)


@given(VALUES, st.sampled_from([-1.0, 0.0, 0.5]), st.sampled_from([0.5, 1.0]))
def test_bounds_mean_what_their_words_say_and_no_value_meets_none(values, low, high):
    own = layer(skewness=np.array(values))
    for words, meets in {
        ("min", "max"): lambda x: low <= x <= high,
        ("above", "below"): lambda x: low < x < high,
    }.items():
        condition = Condition.parse({"skewness": dict(zip(words, (low, high), strict=True))})
        assert condition.met(own).tolist() == [bool(meets(value)) for value in values]


def test_all_parts_of_a_condition_must_hold():
    own = layer(
        labels={"s": ["prediction", "partition", "unclassified", "degenerate"], "t": ["partition"] * 4},
        skewness=np.array([1.0, 1.0, 1.0, np.nan]),
        kurtosis=np.array([11.0, 12.0, 13.0, np.nan]),
    )
    label = {"scheme": "s", "any": ["typed"]}
    assert Condition.parse({"label": label}).met(own).tolist() == [True, True, False, False]
    both = {"kurtosis": {"above": 11}, "skewness": {"above": 0}}
    assert Condition.parse(both).met(own).tolist() == [False, True, True, False]
    assert Condition.parse(both | {"label": label}).met(own).tolist() == [False, True, False, False]
    assert str(Condition.parse(both | {"label": label})) == "kurtosis > 11 and skewness > 0 and s: typed"


def test_typed_is_every_label_that_is_a_type():
    labels = np.array(["prediction", "unclassified", "degenerate"], dtype=object)
    assert have_label(labels, ["typed"]).tolist() == [True, False, False]
    assert have_label(labels, ["typed", "degenerate"]).tolist() == [True, False, True]
    assert have_label(labels, ["unclassified"]).tolist() == [False, True, False]


def test_std_by_norm_and_a_zero_direction():
    own = layer(std=np.array([0.3, 0.0]), norm=np.array([2.0, 0.0]))
    found = own.values("std_by_norm")
    assert found[0] == 0.15 and np.isnan(found[1])


def test_rows_are_found_by_their_feature_whatever_their_order():
    own = layer(labels={"s": ["prediction", "partition", "unclassified"]}, std=np.array([0.1, 0.2, 0.3]))
    assert own.types is not None
    turned = Layer("a", own.moments.iloc[::-1], own.types)
    assert turned.values("std")[turned.row(1)] == 0.2
    assert turned.labels("s")[turned.row(0)] == "prediction"


def test_what_the_tables_lack_is_said():
    own = layer("blocks.3.hook_resid_pre", {"s": ["prediction", "partition"]}, std=np.array([0.1, 0.2]))
    with pytest.raises(FsrlError, match=r"blocks.3.hook_resid_pre has no feature 2 \(it has 2\)"):
        own.row(2)
    with pytest.raises(FsrlError, match=r"no scheme 't'; there are s"):
        own.labels("t")
    with pytest.raises(FsrlError, match="table types was not given"):
        Layer("a", own.moments).labels("s")
    assert own.types is not None
    with pytest.raises(FsrlError, match="lacks rows of table moments"):
        Layer("a", own.moments, own.types.iloc[:1]).labels("s")


@pytest.mark.parametrize(
    "low, high, inside, outside, words",
    [
        (1, 2, [1, 1.5, 2], [0.99, 2.01], "1 to 2"),
        (None, 2, [-9, 2], [2.01], "at most 2"),
        (1, None, [1, 9], [0.99], "at least 1"),
    ],
)
def test_a_range_holds_its_ends_and_no_nan(low, high, inside, outside, words):
    found = Range(low, high)
    assert all(map(found.holds, inside)) and not any(map(found.holds, [*outside, np.nan]))
    assert str(found) == words
