"""Figures of a layer: what they say, in which colours, and that nothing is clipped."""

import matplotlib
import numpy as np
import pytest
from matplotlib.contour import ContourSet
from matplotlib.patches import StepPatch

from fsrl.errors import FsrlError
from fsrl.figures import style as plot_style
from fsrl.names import TYPES
from fsrl.types import select
from tests.fixtures.plot_figures import (
    TITLE,
    assert_legible,
    draw_layer,
    expected_points,
    points_by_color,
    words,
)
from tests.fixtures.plot_tables import Study, four_kinds

PER_LAYER = ("skewness", "kurtosis", "skewness_vs_kurtosis", "types", "evidence", "exemplars")


@pytest.fixture(scope="module")
def study() -> Study:
    return Study()


@pytest.fixture(scope="module")
def layer(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return study.stored_layer(tmp_path_factory.mktemp("layer"), empty=("suppression",))


@pytest.mark.parametrize("name", PER_LAYER)
def test_layer_figure_is_legible(name: str, layer: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw_layer(name, layer)
    assert_legible(figure, monkeypatch)
    assert figure.get_figwidth() == (7.0 if name in ("evidence", "exemplars") else 3.4)
    assert TITLE in words(figure).replace("\n", " ")
    assert "300 features (" in words(figure) and "dead" in words(figure)


@pytest.mark.parametrize("name", PER_LAYER)
@pytest.mark.parametrize(
    "options", [{"degenerate": 300}, {"density": False, "degenerate": 0}, {"empty": TYPES}]
)
def test_layers_without_shapes_densities_or_types(
    name: str, options: dict, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = draw_layer(name, study.layer(**options))
    assert_legible(figure, monkeypatch)
    if "density" in options:
        assert "density unknown" in words(figure)


def test_long_titles_are_wrapped(layer: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    title = "gpt2-small-res-jb-feature-splitting · " + "blocks.8.hook_resid_pre_98304/very_long_sae_id" * 2
    for name in PER_LAYER:
        assert_legible(draw_layer(name, layer, title=title), monkeypatch)


def test_legend_of_types_has_counts_beside_the_nulls(layer: dict) -> None:
    counts = select.scheme_counts(layer["type_counts"], "calibrated")
    text = words(draw_layer("types", layer))
    prediction = counts.loc["prediction", "features"]
    assert prediction > 0
    assert f"prediction: {prediction} ({100 * prediction / 300:.1f} %; null at most 0.1 %)" in text
    assert "suppression: none (expected by chance: at most 0.3)" in text
    assert "local context:" in text and "unclassified:" in text
    assert "degenerate: 2 (0.67 %; null at most 0 %)" in text


def test_a_type_that_the_scheme_lacks_is_not_mentioned(layer: dict) -> None:
    counts = layer["type_counts"]
    scheme = (counts["scheme"] == "universal_neurons") & (counts["type"] == "local_context")
    frames = layer | {"type_counts": counts[~scheme]}
    for name in ("types", "exemplars"):
        assert "local context" in words(draw_layer(name, frames, "calibrated"))
        assert "local context" not in words(draw_layer(name, frames, "universal_neurons"))


def test_points_of_a_type_have_its_colour(layer: dict) -> None:
    assert points_by_color(draw_layer("types", layer).axes[0]) == expected_points(layer["type_counts"])


def test_histogram_shows_the_shares_beyond_the_null(layer: dict) -> None:
    moments, null = layer["moments"], layer["null"]
    for name in ("skewness", "kurtosis"):
        low, high = null[name].quantile([0.001, 0.999])
        known = moments[name].dropna()
        shares = [plot_style.percent(share) for share in ((known < low).mean(), (known > high).mean())]
        figure = draw_layer(name, layer)
        assert f"features beyond: {shares[0]} and {shares[1]}" in words(figure)
        step = figure.axes[0].patches[0]
        values, edges, _ = step.get_data()
        shown = np.log10(known) if name == "kurtosis" else known
        inside = ((shown >= edges[0]) & (shown <= edges[-1])).mean()
        assert (values * np.diff(edges)).sum() == pytest.approx(inside)
        assert ("more" in words(figure)) == (inside < 1)


def test_unknown_scheme_is_named(layer: dict) -> None:
    with pytest.raises(FsrlError, match="'calibrate'; choose one of: post, calibrated, universal_neurons"):
        draw_layer("types", layer, scheme="calibrate")


def test_features_without_a_type_are_refused(layer: dict) -> None:
    types = layer["types"]
    with pytest.raises(FsrlError, match="no type for 1 features of table moments, the first is feature 7"):
        draw_layer("types", layer | {"types": types[types["feature"] != 7]})


def test_an_empty_null_is_refused(layer: dict) -> None:
    with pytest.raises(FsrlError, match="table null: no finite value in column skewness"):
        draw_layer("skewness", layer | {"null": layer["null"].iloc[:0]})


@pytest.mark.parametrize("name", ("skewness", "kurtosis", "skewness_vs_kurtosis", "types"))
def test_each_kind_of_null_has_its_line(name: str, layer: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw_layer(name, layer | {"null": four_kinds(layer["null"])})
    assert_legible(figure, monkeypatch)
    bounding = ("isotropic", "spectrum")
    for label in ("isotropic", "second moment", "sign flip", "spectrum"):
        shown = name in ("skewness", "kurtosis") or label in bounding
        assert words(figure).count(label) == int(shown)
    if name in ("skewness", "kurtosis"):
        steps = [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]
        assert len({str(step.get_linestyle()) for step in steps[2:]}) == 3
    else:
        contours = [artist for artist in figure.axes[0].collections if isinstance(artist, ContourSet)]
        assert len({str(contour.get_linestyle()) for contour in contours}) == len(contours) == 2


def test_the_wider_of_the_bounding_kinds_sets_the_bounds(layer: dict) -> None:
    figure = draw_layer("skewness", layer | {"null": four_kinds(layer["null"])})
    # The third kind is spectrum; sign_flip, the fourth and widest, bounds nothing.
    bounds = 3 * layer["null"]["skewness"].quantile([0.001, 0.999]).to_numpy()
    drawn = [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert drawn == pytest.approx(list(bounds))


def test_an_unknown_kind_of_null_is_refused(layer: dict) -> None:
    with pytest.raises(FsrlError, match="table null: unknown kind 'gaussian'; it must be one of: isotropic"):
        draw_layer("types", layer | {"null": layer["null"].assign(kind="gaussian")})


def test_drawing_leaves_the_global_style_alone(layer: dict) -> None:
    before = dict(matplotlib.rcParams)
    draw_layer("types", layer)
    assert dict(matplotlib.rcParams) == before
