"""Figure of one layer in two views."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fsrl.errors import FsrlError
from fsrl.figures import style as plot_style
from fsrl.figures import views as plot_views
from tests.fixtures.plot_figures import assert_legible, expected_points, points_by_color, words
from tests.fixtures.plot_tables import Study, four_kinds


@pytest.fixture(scope="module")
def layer() -> dict:
    return Study().layer(empty=("suppression",))


def draw(layer: dict, **changed) -> Figure:
    other = layer["moments"].assign(skewness=2 * layer["moments"]["skewness"])
    given = {
        "moments": (other, layer["moments"]),
        "nulls": (four_kinds(layer["null"]), layer["null"]),
        "types": layer["types"],
        "views": ("main", "trained"),
        "scheme": "calibrated",
        "title": "mini · blocks.3.hook_resid_pre",
    } | changed
    return plot_views.two_views(**given)


def test_points_are_the_same_features_in_both_views(layer: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw(layer)
    assert_legible(figure, monkeypatch)
    assert "mini · blocks.3.hook_resid_pre · views main and trained" in words(figure)
    assert points_by_color(figure.axes[0]) == expected_points(layer["type_counts"])
    for scatter in figure.axes[0].collections:
        x, y = np.asarray(scatter.get_offsets()).T if len(scatter.get_offsets()) else ((), ())
        assert np.asarray(x) == pytest.approx(2 * np.asarray(y)), to_hex(scatter.get_facecolor()[0])


def test_each_axis_has_its_own_views_bounds(layer: dict) -> None:
    ax = draw(layer).axes[0]
    low, high = layer["null"]["skewness"].quantile([0.001, 0.999])
    lines = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in lines[:2]] == pytest.approx([3 * low, 3 * high])
    assert [line.get_ydata()[0] for line in lines[2:]] == pytest.approx([low, high])
    known = layer["moments"]["skewness"].dropna()
    trained = (known < low) | (known > high)
    main = (2 * known < 3 * low) | (2 * known > 3 * high)
    shares = [plot_style.percent(part.mean()) for part in (main, trained, main & trained)]
    title = ax.get_title(loc="left")
    assert title == f"beyond the null: main {shares[0]}, trained {shares[1]}, both {shares[2]}"


def test_views_of_other_features_are_refused(layer: dict) -> None:
    moments = layer["moments"]
    with pytest.raises(FsrlError, match="views main and trained: their tables moments list other features"):
        draw(layer, moments=(moments.iloc[1:], moments))
