"""Figures of a study: their numbers, their colours, and that nothing is clipped for 1 to 13 layers."""

import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from fsrl.figures import layers as plot_layers
from fsrl.figures.style import TYPE_COLORS
from fsrl.names import TYPES
from fsrl.types import select
from tests.fixtures.plot_figures import (
    TITLE,
    assert_legible,
    draw_study,
    expected_points,
    points_by_color,
    words,
)
from tests.fixtures.plot_tables import Study, four_kinds

HOOKS = [f"blocks.{i}.hook_resid_pre" for i in range(12)] + ["blocks.11.hook_resid_post"]
PER_STUDY = ("layers_grid", "moments_by_layer", "nulls_by_layer", "type_shares")


@pytest.fixture(scope="module")
def layers() -> list[plot_layers.LayerInputs]:
    study = Study()
    return [study.study_layer(hook, empty=("suppression",)) for hook in HOOKS]


@pytest.fixture(scope="module")
def layers_of_four_kinds(layers: list[plot_layers.LayerInputs]) -> list[plot_layers.LayerInputs]:
    return [layer._replace(null=four_kinds(layer.null)) for layer in layers[:3]]


@pytest.mark.parametrize("n_layers", [1, 4, 13])
@pytest.mark.parametrize("name", PER_STUDY)
def test_study_figure_is_legible(
    name: str, n_layers: int, layers: list[plot_layers.LayerInputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = draw_study(name, layers[-n_layers:])
    assert_legible(figure, monkeypatch)
    assert figure.get_figwidth() == 7.0
    assert "11 post" in words(figure) and TITLE in words(figure) and "dead features included" in words(figure)


@pytest.mark.parametrize("name", PER_STUDY)
def test_study_figure_with_all_kinds_of_null_is_legible(
    name: str, layers_of_four_kinds: list[plot_layers.LayerInputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_legible(draw_study(name, layers_of_four_kinds), monkeypatch)


def test_every_kind_ends_at_its_quantiles(layers_of_four_kinds: list[plot_layers.LayerInputs]) -> None:
    layer = layers_of_four_kinds[0]
    ax = draw_study("nulls_by_layer", [layer]).axes[0]
    ends = [list(line.get_ydata()) for line in ax.lines if line.get_marker() in plot_layers.MARKERS.values()]
    quantiles = [
        layer.null.loc[layer.null["kind"] == kind, "skewness"].quantile([0.001, 0.999]).tolist()
        for kind in plot_layers.MARKERS
    ]
    assert ends == [pytest.approx(pair) for pair in quantiles]
    bounds = [path.get_segments()[0][0][1] for path in ax.collections if isinstance(path, LineCollection)]
    # sign_flip and second_moment reach further and bound nothing.
    assert bounds[-2:] == pytest.approx(quantiles[list(plot_layers.MARKERS).index("spectrum")])


def test_points_of_a_type_have_its_colour(layers: list[plot_layers.LayerInputs]) -> None:
    panels = draw_study("layers_grid", layers).axes
    for ax, layer in zip(panels, layers, strict=False):
        assert points_by_color(ax) == expected_points(layer.type_counts)


def test_quantile_bars_are_the_quantiles(layers: list[plot_layers.LayerInputs]) -> None:
    ax = draw_study("moments_by_layer", layers[:1]).axes[1]
    ratio = (layers[0].moments["std"] / layers[0].moments["norm"]).dropna()
    bars = [bar for bar in ax.patches if isinstance(bar, Rectangle)]
    ends = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in bars[:3]]
    pairs = ((0.001, 0.999), (0.05, 0.95), (0.25, 0.75))
    assert ends == [pytest.approx(tuple(ratio.quantile(list(pair)))) for pair in pairs]
    null = layers[0].null["std"].quantile([0.25, 0.75])
    assert (bars[5].get_y(), bars[5].get_y() + bars[5].get_height()) == pytest.approx(tuple(null))


def test_share_bars_have_the_shares_and_the_nulls_dashes(layers: list[plot_layers.LayerInputs]) -> None:
    figure = draw_study("type_shares", layers[:2])
    assert [ax.get_title() for ax in figure.axes] == [
        "scheme post", "scheme calibrated", "scheme universal_neurons",
    ]  # fmt: skip
    counts = select.scheme_counts(layers[0].type_counts, "calibrated")
    bars = [bar for bar in figure.axes[1].patches if isinstance(bar, Rectangle)][:5]
    assert [bar.get_height() for bar in bars] == [counts.loc[name, "share"] for name in TYPES]
    assert [to_hex(bar.get_facecolor()).upper() for bar in bars] == list(TYPE_COLORS.values())[:5]
    dashes = [line for line in figure.axes[1].collections if isinstance(line, LineCollection)]
    assert {line.get_segments()[0][0][1] for line in dashes} == {0.3 / 300}
    spans = [line.get_ydata() for line in figure.axes[1].lines if line.get_color() == "#666666"][:4]
    known = [counts.loc[name, ["low", "high"]] / len(layers[0].moments) for name in TYPES]
    assert [list(span) for span in spans] == [pytest.approx(list(ends)) for ends in known if ends["high"]]
    hollow = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert len(hollow) == 2  # suppression in both layers
