"""Figure of the thresholds."""

from pathlib import Path

import pytest

from fsrl.errors import FsrlError
from fsrl.figures import sensitivity as plot_sensitivity
from tests.fixtures import plot_evidence_tables
from tests.fixtures.plot_figures import assert_legible, words

TITLE = "mini · view trained"
HOOKS = [f"blocks.{i}.hook_resid_pre" for i in range(13)]


@pytest.mark.parametrize("n_layers", [1, 13])
def test_curves_are_the_tables(n_layers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = plot_evidence_tables.sensitivity(HOOKS[:n_layers], tmp_path)
    figure = plot_sensitivity.sensitivity(table, scheme="calibrated", title=TITLE)
    assert_legible(figure, monkeypatch)
    assert TITLE in words(figure) and "by chance, at most" in words(figure)
    # Bounds in the order of precedence; fewer null draws are no bound.
    heads = [ax.get_title() for ax in figure.axes[:6]]
    assert [head.split("\n")[0] for head in heads] == [
        "partition", "two-sided", "local context", "local context", "prediction", "suppression",
    ]  # fmt: skip
    assert heads[2:4] == ["local context\nq ≤\n0.05", "local context\ntail tokens ≤\n20"]
    for i, measure in enumerate(("members", "jaccard", "significant_share")):
        ax = figure.axes[6 * i + 4]
        rows = table[(table["type"] == "prediction") & (table["sae"] == HOOKS[0])]
        assert ax.lines[0].get_xdata() == pytest.approx(rows["factor"].to_numpy())
        assert ax.lines[0].get_ydata() == pytest.approx(rows[measure].to_numpy())
    chance = figure.axes[4].lines[n_layers]
    assert chance.get_ydata() == pytest.approx([0.03, 0.3, 3.0])
    assert words(figure).count("no\nmembers") == 2


def test_unknown_scheme_is_named(tmp_path: Path) -> None:
    table = plot_evidence_tables.sensitivity(HOOKS[:1], tmp_path)
    with pytest.raises(
        FsrlError, match="table sensitivity: no rows of scheme 'post'; choose one of: calibrated"
    ):
        plot_sensitivity.sensitivity(table, scheme="post", title=TITLE)
