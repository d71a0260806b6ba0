"""Figures of token sets and their tests: the numbers in them, and that all can be read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure

from fsrl.figures import coverage as plot_coverage
from fsrl.figures import enrichment as plot_evidence
from fsrl.figures import heatmap as plot_heatmap
from fsrl.names import TYPES
from tests.fixtures import plot_evidence_tables
from tests.fixtures.plot_evidence_tables import CUT, SETS
from tests.fixtures.plot_figures import assert_legible, words
from tests.fixtures.plot_tables import Study

TITLE = "mini · view trained"
HOOKS = [f"blocks.{i}.hook_resid_pre" for i in range(12)] + ["blocks.11.hook_resid_post"]


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    return Study().layer(empty=("suppression",))["type_counts"]


@pytest.fixture(scope="module")
def layers(counts: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> list[plot_evidence.Evidence]:
    folder = tmp_path_factory.mktemp("evidence")
    return [plot_evidence_tables.evidence(hook, counts, folder, seed=i) for i, hook in enumerate(HOOKS)]


def manhattan(layers: list[plot_evidence.Evidence], folder: Path, cut: float = CUT) -> Figure:
    found = plot_evidence_tables.discoveries([layer.hook for layer in layers], folder, cut)
    return plot_evidence.manhattan(layers, found, SETS, title=TITLE)


def heatmap(layers: list[plot_evidence.Evidence]) -> Figure:
    return plot_heatmap.heatmap(layers, SETS, scheme="calibrated", title=TITLE)


@pytest.mark.parametrize("n_layers", [1, 7, 13])
def test_figures_are_legible(
    n_layers: int, layers: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for figure in (manhattan(layers[:n_layers], tmp_path), heatmap(layers[:n_layers])):
        assert_legible(figure, monkeypatch)
        assert TITLE in words(figure)


def test_manhattan_shows_each_features_best_sets(layers: list, tmp_path: Path) -> None:
    figure = manhattan(layers[:2], tmp_path)
    drawn = np.concatenate([np.asarray(s.get_offsets()) for s in figure.axes[0].collections])
    expected = [
        (300 * i + feature + 0.5, -sign * log10_p)
        for i, layer in enumerate(layers[:2])
        for side, sign in (("promoted", 1), ("suppressed", -1))
        for feature, log10_p in zip(
            layer.best_sets["feature"], layer.best_sets[f"{side}_log10_p"], strict=True
        )
    ]
    assert sorted(map(tuple, drawn)) == [pytest.approx(point) for point in sorted(expected)]
    cuts = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert sorted(cuts) == [CUT, -CUT]
    # The one feature beyond the cut is named, on both sides of both layers.
    names = [text.get_text() for text in figure.axes[0].texts]
    best = [layer.best_sets.loc[7, side] for layer in layers[:2] for side in ("promoted", "suppressed")]
    assert names == [name.replace("_", " ") for name in best]
    assert "2 of 3,000 pairs" not in words(figure) and "4 of 3,000 pairs" in words(figure)


def test_names_lie_on_no_significant_point_and_on_no_name() -> None:
    """A point just left of a name's own: the name turns to the right. Many above it: it goes beyond them."""
    asked = {"x": 200.0, "base": 20.0, "width": 60.0, "after": False}
    assert plot_evidence._clear(**asked, taken=[], dots=np.empty((0, 2))) == (3, False)
    left = np.array([[170.0, 26.0]])
    assert plot_evidence._clear(**asked, taken=[], dots=left) == (3, True)
    both = np.array([[170.0, 26.0], [230.0, 26.0]])
    assert plot_evidence._clear(**asked, taken=[], dots=both) == (8, False)
    written = [(140.0, 200.0, 28.0)]
    assert plot_evidence._clear(**asked, taken=written, dots=both) == (8, True)
    # No room in the panel: on the points, but not on the name.
    wall = np.column_stack([np.repeat([170.0, 230.0], 100), np.tile(np.arange(100.0), 2)])
    assert plot_evidence._clear(**asked, taken=[(140.0, 260.0, 23.0)], dots=wall) == (11, False)


def test_manhattan_without_discoveries_says_so(
    layers: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = manhattan(layers[:1], tmp_path, cut=np.nan)
    assert_legible(figure, monkeypatch)
    assert "nothing is significant" in words(figure)
    assert not figure.axes[0].texts


def test_heatmap_has_a_square_where_the_ratio_says_something(layers: list) -> None:
    figure = heatmap(layers[:2])
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    # The set that no feature of a type has is left out, the others are grouped by kind.
    assert rows == ["starts with space", "month", "rank 1 100", "my words"]
    n_types = layers[0].odds_ratios["type"].nunique()
    assert n_types == 4
    for ax in figure.axes[:2]:
        squares = next(artist for artist in ax.collections if isinstance(artist, PatchCollection))
        assert len(squares.get_paths()) == 2 * n_types * len(rows)
        sides = [path.get_extents().width for path in squares.get_paths()]
        assert sides.count(pytest.approx(plot_heatmap.HALF)) == 2 * n_types
        dots = ax.collections[-1].get_offsets()
        assert len(dots) == 2 * n_types * 3
    assert words(figure).count("none\n(expected by chance:\nat most 0.3 a hook)") == 2


def test_heatmap_of_layers_without_types(counts: pd.DataFrame, layers: list, monkeypatch) -> None:
    # What chance gives is of the layer where it gives most, and no sum over layers of other nulls each.
    empty = [
        layer._replace(
            odds_ratios=layer.odds_ratios.iloc[:0],
            type_counts=counts.assign(features=0, expected_at_bounds=chance),
        )
        for layer, chance in zip(layers[:2], (1.5, 0.7), strict=True)
    ]
    figure = heatmap(empty)
    assert_legible(figure, monkeypatch)
    assert words(figure).count("none\n(expected by chance:\nat most 1.5 a hook)") == 2 * len(TYPES)


def test_qq_of_uniform_p_lies_on_the_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    uniform = np.log10((np.arange(1000) + 0.5) / 1000)
    # Two features and 500 sets; what was not tested is left out.
    p = {"log10_p": np.append(uniform, np.nan), "log10_p_t": np.append(2 * uniform, np.nan)}
    p["log10_p_z"] = np.append(10 * uniform, np.nan)
    keys = {"sae": "s", "feature": np.arange(1001) % 2, "set": [f"set {i // 2}" for i in range(1001)]}
    both = [pd.DataFrame(keys | p).assign(kind=kind) for kind in ("turned", "shuffled")]
    both[1]["log10_p_z"] = both[1]["log10_p"]
    figure = plot_evidence.qq(pd.concat(both), title=TITLE)
    assert_legible(figure, monkeypatch)
    assert figure.axes[1].lines[2].get_ydata() == pytest.approx(figure.axes[1].lines[2].get_xdata())
    own, t, z = figure.axes[0].lines[:3]
    assert own.get_ydata() == pytest.approx(own.get_xdata())
    assert t.get_ydata() == pytest.approx(2 * t.get_xdata())
    assert z.get_ydata() == pytest.approx(10 * z.get_xdata())
    assert "2 features of 1 layers, 501 token sets" in words(figure)
    assert "own null: 5.0 %" in words(figure)
    assert f"textbook z: {100 * (10 * uniform < np.log10(0.05)).mean():.1f} %" in words(figure)


def test_coverage_has_a_bar_a_set_as_long_as_its_features(tmp_path: Path, monkeypatch) -> None:
    table = plot_evidence_tables.set_coverage(
        ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"], tmp_path
    )
    figure = plot_coverage.set_coverage(table, scheme="calibrated", title=TITLE)
    assert_legible(figure, monkeypatch)
    ax = figure.axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert sorted(names) == sorted(name.replace("_", " ") for name in list(plot_evidence_tables.SETS)[:-1])
    ends = [max(patch.get_x() + patch.get_width() for patch in bar) for bar in ax.containers]
    assert max(ends) == 2 * (len(TYPES) + 3)  # two layers; degenerate ones and two unclassified have no type
    share = 100 * len(TYPES) / (len(TYPES) + 3)
    assert [text.get_text() for text in ax.texts] == [f"{share:.1f} %"] * len(names)


def test_coverage_of_nothing(tmp_path: Path) -> None:
    table = plot_evidence_tables.set_coverage(["blocks.0.hook_resid_pre"], tmp_path)
    none = table.assign(features=0, significant=0, share=np.nan)
    figure = plot_coverage.set_coverage(none, scheme="calibrated", title=TITLE)
    assert "0 features significantly promote or suppress a set" in words(figure)
