"""Figure of exemplars split by their best token set."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch

from fsrl.figures import splits as plot_splits
from fsrl.names import TYPES
from tests.fixtures.plot_figures import TITLE, assert_legible, words
from tests.fixtures.plot_splits import INSIDE, split_table, weights
from tests.fixtures.plot_tables import DANGEROUS, Study


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    return Study().layer(empty=("suppression",))["type_counts"]


def test_splits_show_the_set_against_the_other_tokens(
    counts: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = {name: i for i, name in enumerate(TYPES) if name != "suppression"}
    figure = plot_splits.splits(split_table(seeds), counts, scheme="calibrated", title=TITLE)
    assert_legible(figure, monkeypatch)
    assert TITLE in words(figure) and "none (expected by chance: at most 0.3)" in words(figure)
    for ax, seed in zip(figure.axes[: len(seeds)], seeds.values(), strict=True):
        others, members = (patch.get_data() for patch in ax.patches if isinstance(patch, StepPatch))
        own, n = weights(seed), len(DANGEROUS)
        for step, part in ((others, own[n:]), (members, own[:n])):
            histogram = np.histogram(part, step.edges)[0] / len(part)
            assert step.values * np.diff(step.edges) == pytest.approx(histogram)
        means = [line.get_xdata()[0] for line in ax.lines]
        assert means == pytest.approx([own[n:].mean(), own[:n].mean()])
        # eta^2: the share of the variance between the two groups.
        groups = np.where(INSIDE, *means[::-1])
        assert f"eta² {groups.var() / own.var():.2g}" in words(figure)
        assert f"feature {100 + seed}: promoted" in words(figure)


def test_a_type_whose_features_have_no_set_says_so(counts: pd.DataFrame) -> None:
    figure = plot_splits.splits(split_table({}), counts, scheme="calibrated", title=TITLE)
    assert words(figure).count("no token set could be tested") == len(TYPES) - 1
