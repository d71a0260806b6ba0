"""What the figures share: palette, wording, ticks, measures of text, the null's quantiles and contours."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from fsrl.figures import enrichment as plot_evidence
from fsrl.figures import layer as plots
from fsrl.figures import layers as plot_layers
from fsrl.figures import plane as plot_plane
from fsrl.figures import style as plot_style
from fsrl.figures.style import TYPE_COLORS
from fsrl.hooks import hook_label
from fsrl.names import KINDS, LABELS, TYPES
from fsrl.tokens import sets as token_sets
from tests.fixtures.plot_tables import Study


@pytest.fixture(scope="module")
def study() -> Study:
    return Study()


def test_the_palette_has_the_types_of_the_schemes_in_their_order() -> None:
    assert TYPES == TYPES
    assert tuple(plot_style.NULL_LINES) == tuple(KINDS) == tuple(plot_layers.MARKERS)
    assert tuple(plot_evidence.SET_KINDS) == token_sets.KINDS
    assert not {color for color, _ in plot_evidence.SET_KINDS.values()} & set(TYPE_COLORS.values())
    assert tuple(TYPE_COLORS) == tuple(plot_style.TYPE_MARKERS) == LABELS
    assert len({plot_style.TYPE_MARKERS[name] for name in TYPES}) == len(TYPES)
    assert len(set(TYPE_COLORS.values()) | {plots.FEATURES}) == len(TYPE_COLORS) + 1


def test_a_contour_holds_its_share_of_the_draws(study: Study) -> None:
    x, y = np.arcsinh(study.null["skewness"]), np.log(study.null["kurtosis"])
    grid_x, grid_y, density, level = plot_plane.density_level(x, y)
    cell = np.abs(grid_x[:, None] - x.to_numpy()).argmin(0), np.abs(grid_y[:, None] - y.to_numpy()).argmin(0)
    assert (density[cell] >= level).mean() == pytest.approx(0.999, abs=0.0006)


def test_large_scatters_are_drawn_as_pixels() -> None:
    assert plot_plane.dots(5001)["rasterized"] and not plot_plane.dots(5000)["rasterized"]


def test_the_most_extreme_kind_that_bounds_the_types_counts(study: Study) -> None:
    wider = study.null.assign(kind="spectrum", skewness=2 * study.null["skewness"])
    widest = study.null.assign(kind="second_moment", skewness=3 * study.null["skewness"])
    both = pd.concat([study.null, wider, widest])
    levels = (0.001, 0.999)
    bounds = 2 * plot_style.null_quantiles(study.null, "skewness", levels)
    assert plot_style.null_quantiles(both, "skewness", levels) == pytest.approx(bounds)


def test_ticks_keep_their_distance() -> None:
    dense, sparse = (0.0, 1.0, 2.0, 3.0, 4.0), (0.0, 2.0, 4.0)
    assert plot_plane.pick_ticks((0, 4), [dense, sparse], float, 0.25) == list(dense)
    assert plot_plane.pick_ticks((0, 4), [dense, sparse], float, 0.26) == list(sparse)
    assert plot_plane.pick_ticks((1, 3), [dense, sparse], float, 0.26) == [1, 2, 3]


def test_no_number_is_broken() -> None:
    text = "137 pairs are significant (2.2 with shuffled sets, 0.7 with turned decoders)"
    for points in range(20, 400, 7):
        lines = plot_style.wrap(text, points, 7).split("\n")
        assert not [line for line in lines if line.endswith(("2.", "0."))]
    assert plot_style.wrap("blocks.11.hook", 20, 7).split("\n") == ["blocks.", "11.", "hook"]


@pytest.mark.parametrize(
    ("hook", "label"),
    [
        ("blocks.0.hook_resid_pre", "0 pre"),
        ("blocks.11.hook_resid_post", "11 post"),
        ("blocks.8.hook_resid_pre_24576", "8 pre 24576"),
        ("blocks.2.attn.hook_z", "2 z"),
        ("blocks.2.hook_mlp_out", "2 mlp out"),
        ("blocks.2.mlp.hook_post", "2 mlp neurons"),
        ("transformer.h.3", "transformer.h.3"),
    ],
)
def test_hook_labels(hook: str, label: str) -> None:
    assert hook_label(hook) == label


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0781, "7.8 %"),
        (0.001, "0.1 %"),
        (0.00065, "0.065 %"),
        (0.0, "0 %"),
        (1.0, "100.0 %"),
        (0.123, "12.3 %"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert plot_style.percent(share) == text


def test_text_width_is_that_of_the_outlines() -> None:
    for text in ("WWW", "blocks.8.hook_resid_pre", "illi" * 9):
        outline = TextPath((0, 0), text, size=6.5, prop=FontProperties(family="DejaVu Sans"))
        assert plot_style.text_width(text, 6.5) == pytest.approx(outline.get_extents().width, rel=0.05)
