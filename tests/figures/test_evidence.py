"""Figure of the evidence: every feature a point or counted, the best ringed and named, in their colours."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fsrl.figures import evidence as plot_evidence
from fsrl.figures.style import TYPE_COLORS
from fsrl.names import TYPES, UNCLASSIFIED
from fsrl.types import select
from tests.fixtures.plot_figures import draw_layer, words
from tests.fixtures.plot_tables import Study

ROWS = (*TYPES, UNCLASSIFIED)


@pytest.fixture(scope="module")
def layer() -> dict:
    frames = Study().layer(empty=("suppression",))
    types = frames["types"]
    # Some of little evidence, some of none, one far out.
    evidence = 10 ** (3 * types["evidence"] - 2)
    evidence = evidence.mask(types["feature"] % 50 == 7, -0.5)
    return frames | {"types": types.assign(evidence=evidence)}


def clouds(figure: Figure) -> list[PathCollection]:
    """Of each row its points, then its rings."""
    return [artist for artist in figure.axes[0].collections if isinstance(artist, PathCollection)]


def test_every_feature_is_a_point_or_counted_at_the_edge(layer: dict) -> None:
    figure = draw_layer("evidence", layer)
    labelled = select.typed(layer["moments"], layer["types"], "calibrated")
    left = 0
    for row, (name, cloud) in enumerate(zip(ROWS, clouds(figure)[::2], strict=True)):
        mine = labelled[(labelled["type"] == name) & labelled["evidence"].notna()]
        shown = mine.loc[mine["evidence"] >= plot_evidence.LEAST, "evidence"]
        offsets = np.asarray(cloud.get_offsets())
        assert sorted(offsets[:, 0]) == pytest.approx(sorted(shown))
        assert (np.abs(offsets[:, 1] - row) < 0.5).all()
        assert to_hex(cloud.get_facecolor()[0]).upper() == TYPE_COLORS[name]
        left += len(mine) - len(shown)
        assert (f"\N{LEFTWARDS ARROW} {len(mine) - len(shown)}" in words(figure)) or len(mine) == len(shown)
    assert left > 0
    low, high = figure.axes[0].get_xlim()
    assert low < plot_evidence.LEAST and high > labelled["evidence"].max()


def test_the_ringed_features_are_those_named_beside_the_panel(layer: dict) -> None:
    figure = draw_layer("evidence", layer)
    labelled = select.typed(layer["moments"], layer["types"], "calibrated")
    text = words(figure).split("\n")
    assert "0 features" in text  # suppression
    for name, rings in zip(ROWS, clouds(figure)[1::2], strict=True):
        best = select.by_evidence(labelled[labelled["type"] == name]).head(plot_evidence.BEST)
        inside = best.loc[best["evidence"] >= plot_evidence.LEAST, "evidence"]
        assert sorted(np.asarray(rings.get_offsets())[:, 0]) == pytest.approx(sorted(inside))
        for feature in best.itertuples():
            assert str(feature.feature) in text and f"{feature.evidence:.3g}" in text


@pytest.mark.parametrize(
    ("name", "marks"), [("suppression", "\N{DOWNWARDS ARROW}"), ("prediction", "\N{UPWARDS ARROW}")]
)
def test_the_tokens_are_those_of_the_side_that_the_type_is_about(name: str, marks: str) -> None:
    frames = Study().layer()
    types = frames["types"]
    one = types["feature"] == 200
    types = types.assign(type=types["type"].mask(one, name).where(one, "unclassified"))
    figure = draw_layer("evidence", frames | {"types": types})
    line = next(text.get_text() for text in figure.texts if text.get_text().startswith(marks))
    side = "top" if name == "prediction" else "bottom"
    mine = frames["extremes"][(frames["extremes"]["feature"] == 200) & (frames["extremes"]["side"] == side)]
    first = mine.sort_values("rank")["token"].iloc[0]
    assert first.replace("\u0120", "\u2423") in line


def test_a_scheme_without_tails_says_so(layer: dict) -> None:
    types = layer["types"].assign(evidence=np.nan)
    text = words(draw_layer("evidence", layer | {"types": types}))
    assert "no feature has evidence" in text


def test_what_fires_often_comes_last_and_unknown_densities_do_not() -> None:
    frame = pd.DataFrame(
        {
            "feature": [0, 1, 2, 3, 4],
            "log10_density": np.float32([-0.5, -2, np.nan, -1, -3]),
            "evidence": [9.0, 1.0, 2.0, 8.0, 2.0],
        }
    )
    assert list(select.by_evidence(frame)["feature"]) == [2, 4, 1, 0, 3]
