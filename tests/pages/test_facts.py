"""A feature's facts from what the tables of one SAE hold of it, and the sets that its page lists."""

import numpy as np
import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.pages.facts import FeatureRows, from_rows
from fsrl.pages.sets import ListedSets

NOTHING = np.nan

# Two features: the second has values that are not there.
MOMENTS = pd.DataFrame(
    {
        "feature": [0, 1],
        "mean": [0.5, 0.0],
        "std": [0.25, 0.0],
        "skewness": [1.0, NOTHING],
        "kurtosis": [4.0, NOTHING],
        "norm": [1.0, 0.0],
        "log10_density": np.array([-2, NOTHING], dtype="float32"),
        "alive": pd.array([True, pd.NA], dtype="boolean"),
    }
)
EXTREMES = pd.DataFrame(
    {
        "feature": [0, 0, 0],
        "side": ["top", "bottom", "top"],
        "rank": [1, 0, 0],
        "token": ["b", "c", "Ġa"],
        "weight": [1.0, -1.0, 2.0],
    }
)
HISTOGRAM = {"underflow": 1, "counts": np.array([2, 3]), "overflow": 4}
SETS = ["z", "x", "y", "w", "v"]
STATISTICS = {
    "z": np.array([[1.0, 9.0, 5.0, -1.0, -0.5], [NOTHING] * 5]),
    "t": np.array([[0.5, 6.0, 4.0, -1.5, -0.2], [NOTHING] * 5]),
    "log10_p": np.array([[-0.3, -9.0, -5.0, -1.0, -0.1], [NOTHING] * 5]),
}
BEST_SETS = pd.DataFrame(
    {
        "promoted": ["x", None],
        "promoted_log10_q": [-3.0, NOTHING],
        "suppressed": ["w", None],
        "suppressed_log10_q": [-0.5, NOTHING],
        "n_promoted": [2, 0],
        "n_suppressed": [0, 0],
    }
)


def facts_of(feature, rows, **others):
    return from_rows(rows, study="s", hook="h", feature=feature, **others)


def test_facts_of_what_the_tables_hold():
    rows = FeatureRows(
        moments=MOMENTS.iloc[0],
        type_name="partition",
        scheme="b",
        histogram=HISTOGRAM,
        extremes=EXTREMES,
        sets=ListedSets(SETS, STATISTICS, BEST_SETS)(0),
        ranks={"mean": [0.5, 0.25]},
        shapes={"isotropic": [0, [1, 2], 0]},
        notes=("of rows",),
    )
    examples = [{"tokens": ["a"], "values": [1.0], "max_index": 0}]
    facts = facts_of(0, rows, examples=examples, notes=["given"])
    assert (facts.title, facts.type_name, facts.scheme) == ("Feature 0 of h", "partition", "b")
    assert facts.moments == {
        "mean": 0.5, "std": 0.25, "skewness": 1.0, "kurtosis": 4.0, "norm": 1.0, "log10_density": -2.0
    }  # fmt: skip
    assert facts.top == [("Ġa", 2.0), ("b", 1.0)] and facts.bottom == [("c", -1.0)]
    assert facts.spread == (0.5, 0.25) and list(facts.counts) == [2, 3]
    assert (facts.underflow, facts.overflow) == (1, 4)
    assert facts.examples == examples and facts.notes == ["given", "of rows"]
    assert facts.ranks == {"mean": [0.5, 0.25]} and facts.shapes == {"isotropic": [0, [1, 2], 0]}
    assert [one.set for one in facts.sets] == ["x", "y", "w"]


def test_what_the_tables_do_not_hold_is_absent():
    facts = facts_of(1, FeatureRows(moments=MOMENTS.iloc[1]))
    assert facts.moments["skewness"] is None and facts.moments["log10_density"] is None
    assert facts.top == [] and facts.sets is None and facts.type_name is None and len(facts.counts) == 0
    assert facts.spread == (None, None) and not facts.dead


@pytest.mark.parametrize(("alive", "dead"), [(True, False), (False, True), (pd.NA, False), (None, False)])
def test_a_feature_is_dead_where_the_table_says_so(alive, dead):
    rows = FeatureRows(moments=MOMENTS.iloc[0].to_dict() | {"alive": alive})
    assert facts_of(0, rows).dead is dead


def test_a_feature_is_a_number_and_a_wrong_name_is_refused():
    with pytest.raises(FsrlError, match="'0' is no index of a feature; give the number 0"):
        facts_of("0", FeatureRows(moments=MOMENTS.iloc[0]))
    with pytest.raises(TypeError, match="explanation"):
        facts_of(0, FeatureRows(moments=MOMENTS.iloc[0]), explanation=[])


def test_sets_are_listed_by_side_and_p_with_what_is_known_of_q():
    listed = ListedSets(SETS, STATISTICS, BEST_SETS)
    assert [(one.set, one.side, one.significant) for one in listed(0)] == [
        ("x", "promoted", True), ("y", "promoted", True), ("w", "suppressed", False)
    ]  # fmt: skip
    assert [one.log10_q for one in listed(0)] == [-3.0, pytest.approx(NOTHING, nan_ok=True), -0.5]
    assert listed(0)[1][2:5] == (5.0, 4.0, -5.0) and listed(0)[1].auc is None
    assert listed(1) == []
    every = STATISTICS | {"log10_q": np.array([[-0.1, -3.0, -2.0, -0.5, -0.05], [NOTHING] * 5])}
    assert [one.log10_q for one in ListedSets(SETS, every, BEST_SETS)(0)] == [-3.0, -2.0, -0.5]
    scores = pd.DataFrame({"feature": [0, 1], "set": ["y", "x"], "auc": [0.75, 0.5], "es": [0.5, 0.0]})
    scored = ListedSets(SETS, STATISTICS, BEST_SETS, scores)(0)
    assert [(one.auc, one.es) for one in scored] == [(None, None), (0.75, 0.5), (None, None)]


def test_a_side_lists_its_significant_sets_ten_at_most_or_its_best():
    n, names = 14, [f"s{i}" for i in range(14)]
    t = np.repeat([1.0, -1.0], [n - 2, 2])[None]
    statistics = {"z": t, "t": t, "log10_p": -np.arange(n)[None] / 2.0}
    best = pd.DataFrame({"promoted": ["s11"], "suppressed": ["s13"]})
    best = best.assign(promoted_log10_q=-3.0, suppressed_log10_q=-4.0, n_suppressed=0)
    for called, expected in ((n - 2, 10), (0, 1)):
        found = ListedSets(names, statistics, best.assign(n_promoted=called))(0)
        by_p = [f"s{i}" for i in range(n - 3, n - 3 - expected, -1)]
        assert [one.set for one in found] == [*by_p, f"s{n - 1}"]
        assert [one.significant for one in found] == [bool(called)] * expected + [False]


@pytest.mark.parametrize(("mean", "shown"), [(2e-6, 0.0), (-2e-6, 0.0), (3e-6, 3e-6), (np.nan, None)])
def test_what_rounding_leaves_of_a_relative_mean_is_shown_as_0(mean, shown):
    """And has no rank; the bins stay where the tokens were counted."""
    moments = MOMENTS.iloc[0].to_dict() | {"mean": mean}
    ranks = {"mean": [0.5, 0.5], "std": [0.25, 0.25]}
    for relative, expected in ((True, shown), (False, None if np.isnan(mean) else mean)):
        rows = FeatureRows(moments=moments, histogram=HISTOGRAM, mean_is_relative=relative, ranks=ranks)
        facts = facts_of(0, rows)
        assert facts.moments["mean"] == expected
        assert facts.spread == (None if np.isnan(mean) else mean, 0.25)
        assert ("mean" in facts.ranks) == (expected != 0.0) and "std" in facts.ranks
