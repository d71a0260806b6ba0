"""A dashboard's facts from the tables of one SAE."""

import lxml.html
import numpy as np
import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.pages import page as dashboard
from fsrl.pages.facts import FeatureRows, from_rows, from_tables

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
    }
)
EXTREMES = pd.DataFrame(
    {
        "feature": [0, 0, 0, 1],
        "side": ["top", "bottom", "top", "top"],
        "rank": [1, 0, 0, 0],
        "token": ["b", "c", "Ġa", "d"],
        "weight": [1.0, -1.0, 2.0, 0.0],
    }
)
HISTOGRAMS = pd.DataFrame(
    {
        "feature": [0, 1],
        "underflow": [1, 0],
        "counts": [np.array([2, 3]), np.array([5, 0])],
        "overflow": [4, 0],
    }
)
TYPES = pd.DataFrame(
    {
        "feature": [0, 1] * 2,
        "scheme": ["a", "a", "b", "b"],
        "type": ["prediction", "degenerate", "partition", "degenerate"],
    }
)
BEST_SETS = pd.DataFrame(
    {
        "feature": [0, 1],
        "promoted": ["x", None],
        "promoted_log10_p": [-9.0, NOTHING],
        "promoted_log10_q": [-3.0, NOTHING],
        "suppressed": ["w", None],
        "suppressed_log10_p": [-1.0, NOTHING],
        "suppressed_log10_q": [-0.5, NOTHING],
        "n_promoted": [2, 0],
        "n_suppressed": [0, 0],
    }
)
ENRICHMENT = pd.DataFrame(
    {
        "feature": [0] * 5 + [1],
        "set": ["z", "x", "y", "w", "v", "x"],
        "z": [1.0, 9.0, 5.0, -1.0, -0.5, NOTHING],
        "t": [0.5, 6.0, 4.0, -1.5, -0.2, NOTHING],
        "log10_p": [-0.3, -9.0, -5.0, -1.0, -0.1, NOTHING],
    }
)
TABLES = {
    "moments": MOMENTS,
    "extremes": EXTREMES,
    "histograms": HISTOGRAMS,
    "types": TYPES,
    "best_sets": BEST_SETS,
    "enrichment": ENRICHMENT,
}


def test_facts_from_tables():
    examples = [{"tokens": ["a"], "values": [1.0], "max_index": 0}]
    facts = from_tables(study="s", hook="h", feature=0, scheme="b", examples=examples, **TABLES)
    assert (facts.title, facts.type_name, facts.scheme) == ("Feature 0 of h", "partition", "b")
    assert facts.moments == {
        "mean": 0.5, "std": 0.25, "skewness": 1.0, "kurtosis": 4.0, "norm": 1.0, "log10_density": -2.0
    }  # fmt: skip
    assert facts.top == [("Ġa", 2.0), ("b", 1.0)] and facts.bottom == [("c", -1.0)]
    assert facts.histogram_edges == pytest.approx([-1.5, 0.5, 2.5])
    assert list(facts.histogram_counts) == [2, 3] and (facts.underflow, facts.overflow) == (1, 4)
    assert facts.examples == examples
    assert [(row["set"], row["side"], row["significant"]) for row in facts.sets] == [
        ("x", "promoted", True), ("y", "promoted", True), ("w", "suppressed", False)
    ]  # fmt: skip
    assert [row["q"] for row in facts.sets] == [pytest.approx(1e-3), None, pytest.approx(10**-0.5)]
    assert facts.sets[1] | {"q": 0} == {
        "set": "y", "side": "promoted", "z": 5.0, "t": 4.0, "log10_p": -5.0, "q": 0, "significant": True
    }  # fmt: skip


def test_a_constant_feature_has_a_page_too():
    facts = from_tables(study="s", hook="h", feature=1, scheme="a", **TABLES)
    assert facts.moments["skewness"] is None and facts.moments["log10_density"] is None and facts.sets == []
    page = lxml.html.document_fromstring(dashboard.feature_page(facts).encode())
    assert "type degenerate" in " ".join(page.find_class("place")[0].text_content().split())
    assert "No histogram at hand." in page.get_element_by_id("histogram").text_content()


def sets_of(feature, **tables):
    return from_tables(study="s", hook="h", feature=feature, moments=MOMENTS, **tables).sets


def test_each_table_but_the_moments_may_be_missing():
    facts = from_tables(study="s", hook="h", feature=0, moments=MOMENTS)
    assert facts.top == facts.sets == [] and facts.type_name is None and not len(facts.histogram_edges)
    best = sets_of(0, best_sets=BEST_SETS)
    assert [(row["set"], row["log10_p"], row["significant"]) for row in best] == [
        ("x", -9.0, True),
        ("w", -1.0, False),
    ]
    assert sets_of(1, best_sets=BEST_SETS) == []
    alone = sets_of(0, enrichment=ENRICHMENT)
    assert [(row["set"], row["q"], row["significant"]) for row in alone] == [
        ("x", None, None),
        ("w", None, None),
    ]


def test_a_feature_or_scheme_that_a_table_lacks_is_refused():
    with pytest.raises(FsrlError, match="table moments: no feature 7; it has 2 others"):
        from_tables(study="s", hook="h", feature=7, moments=MOMENTS)
    with pytest.raises(FsrlError, match="'0' is no index of a feature; give the number 0"):
        from_tables(study="s", hook="h", feature="0", moments=MOMENTS)
    with pytest.raises(FsrlError, match="no rows of scheme 'c'"):
        from_tables(study="s", hook="h", feature=0, scheme="c", **TABLES)
    with pytest.raises(FsrlError, match="give the scheme"):
        from_tables(study="s", hook="h", feature=0, **TABLES)
    twice = pd.concat([MOMENTS] * 2)
    with pytest.raises(FsrlError, match="2 rows of feature 0"):
        from_tables(study="s", hook="h", feature=0, moments=twice)


def test_what_no_table_holds_is_passed_on_and_a_wrong_name_refused():
    facts = from_tables(study="s", hook="h", feature=0, moments=MOMENTS, title="t", notes=["n"])
    assert (facts.title, facts.notes) == ("t", ["n"])
    with pytest.raises(TypeError, match="explanation"):
        from_tables(study="s", hook="h", feature=0, moments=MOMENTS, explanation=[])


def test_a_side_lists_its_significant_sets_ten_at_most_or_its_best():
    n = 14
    own = {"z": 1.0, "log10_p": -np.arange(n) / 2.0, "log10_q": -np.arange(n) / 4.0}
    sides = np.repeat(["promoted", "suppressed"], [n - 2, 2])
    sets = pd.DataFrame({"set": [f"s{i}" for i in range(n)], "side": sides, "t": 1.0, **own})
    for called, expected in ((sides == "promoted", 10), (sides == "none", 1)):
        rows = FeatureRows(moments=MOMENTS.iloc[0], sets=sets.assign(significant=called))
        listed = from_rows(rows, study="s", hook="h", feature=0).sets
        names = [f"s{i}" for i in range(n - 3, n - 3 - expected, -1)]
        assert [row["set"] for row in listed] == [*names, f"s{n - 1}"]
        assert [row["q"] for row in listed[:1]] == [pytest.approx(10 ** (-(n - 3) / 4))]
        assert [row["significant"] for row in listed] == [bool(called[0])] * expected + [False]


@pytest.mark.parametrize(("mean", "shown"), [(2e-6, 0.0), (-2e-6, 0.0), (3e-6, 3e-6), (np.nan, None)])
def test_what_rounding_leaves_of_a_relative_mean_is_shown_as_0(mean, shown):
    """And the bins stay where the tokens were counted."""
    moments = MOMENTS.iloc[0].to_dict() | {"mean": mean}
    histogram = HISTOGRAMS.iloc[0]
    for relative, expected in ((True, shown), (False, None if np.isnan(mean) else mean)):
        rows = FeatureRows(
            moments=moments, histogram=histogram, mean_is_relative=relative, notes=("of rows",)
        )
        facts = from_rows(rows, study="s", hook="h", feature=0, notes=["given"])
        assert facts.moments["mean"] == expected and facts.notes == ["given", "of rows"]
        edges = [] if np.isnan(mean) else [mean - 2, mean, mean + 2]
        assert list(facts.histogram_edges) == pytest.approx(edges, abs=1e-12)
