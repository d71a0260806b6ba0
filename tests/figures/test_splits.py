"""Figure of exemplars split by their best token set."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch

from fsrl.figures import splits as plot_splits
from fsrl.names import TYPES
from tests.fixtures.plot_figures import TITLE, assert_legible, words
from tests.fixtures.plot_splits import split
from tests.fixtures.plot_tables import DANGEROUS, Study


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    return Study().layer(empty=("suppression",))["type_counts"]


def test_splits_show_the_set_against_the_other_tokens(
    counts: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [split(name, i) for i, name in enumerate(TYPES) if name != "suppression"]
    figure = plot_splits.splits(given, counts, scheme="calibrated", title=TITLE)
    assert_legible(figure, monkeypatch)
    assert TITLE in words(figure) and "none (expected by chance: at most 0.3)" in words(figure)
    for ax, one in zip([figure.axes[0], figure.axes[1], figure.axes[3]], given, strict=True):
        others, members = (patch.get_data() for patch in ax.patches if isinstance(patch, StepPatch))
        n = len(DANGEROUS)
        for step, part in ((others, one.weights[n:]), (members, one.weights[:n])):
            histogram = np.histogram(part, step.edges)[0] / len(part)
            assert step.values * np.diff(step.edges) == pytest.approx(histogram)
        means = [line.get_xdata()[0] for line in ax.lines]
        assert means == pytest.approx([one.weights[n:].mean(), one.weights[:n].mean()])
        # eta^2: the share of the variance between the two groups.
        groups = np.where(one.inside, *means[::-1])
        assert f"eta² {groups.var() / one.weights.var():.2g}" in words(figure)
        assert f"feature {one.feature}: promoted" in words(figure)


def test_the_best_exemplar_has_the_smallest_q() -> None:
    best = pd.DataFrame(
        {
            "feature": [0, 1, 2, 3, 4],
            "promoted": ["a", "b", "c", None, "e"],
            "promoted_log10_q": [-1.0, -3.0, -9.0, np.nan, -3.0],
            "suppressed": ["f", "g", "h", None, "j"],
            "suppressed_log10_q": [-4.0, -2.0, -1.0, np.nan, -2.0],
        }
    )
    types = pd.DataFrame(
        {
            "feature": [0, 1, 2, 3, 4] * 2,
            "scheme": ["calibrated"] * 5 + ["post"] * 5,
            "type": ["prediction", "partition", "unclassified", "suppression", "partition"]
            + ["prediction"] * 5,
        }
    )
    found = plot_splits.best_exemplars(types, best, scheme="calibrated")
    assert found == {"prediction": (0, "f", "suppressed", -4.0), "partition": (1, "b", "promoted", -3.0)}


def test_a_type_whose_features_have_no_set_says_so(counts: pd.DataFrame) -> None:
    figure = plot_splits.splits([], counts, scheme="calibrated", title=TITLE)
    assert words(figure).count("no token set could be tested") == 3
