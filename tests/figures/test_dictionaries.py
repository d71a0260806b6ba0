"""Dictionaries of one model side by side: what the panels show."""

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from fsrl.figures import dictionaries as plot_dictionaries
from fsrl.figures.style import TYPE_COLORS
from tests.fixtures.plot_figures import assert_legible, words
from tests.fixtures.plot_tables import Study, compared

TITLES = {"features": "mini", "neurons": "mini, MLP neurons"}
TITLE = "mini-model · view trained, scheme calibrated"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    study, layers = Study(), range(6)
    features = {f"blocks.{i}.hook_resid_pre": study.layer(n=80)["type_counts"] for i in layers}
    neurons = {f"blocks.{i}.mlp.hook_post": study.layer(n=40)["type_counts"] for i in layers}
    return compared({"features": features, "neurons": neurons}, "calibrated")


def test_it_is_legible_and_names_both(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = plot_dictionaries.dictionaries(frame, TITLES, title=TITLE)
    assert_legible(figure, monkeypatch)
    said = words(figure)
    assert "mini, MLP neurons · 240 directions" in said and "mini · 480 directions" in said
    assert "5 mlp neurons" in said and "5 pre" in said and "any type" in said and TITLE in said


def test_lines_are_the_shares_and_those_of_chance(frame: pd.DataFrame) -> None:
    panels = plot_dictionaries.dictionaries(frame, TITLES, title=TITLE).axes
    for ax, study in zip(panels, TITLES, strict=True):
        rows = frame[(frame["study"] == study) & (frame["sae"] != "all")]
        for name in ("prediction", "partition"):
            mine = [line for line in ax.lines if to_hex(line.get_color()).upper() == TYPE_COLORS[name]]
            of = rows[rows["type"] == name]
            chance, found = sorted(mine, key=lambda line: line.get_marker() == "o")
            assert list(found.get_ydata()) == pytest.approx(of["share"].tolist())
            assert list(chance.get_ydata()) == pytest.approx(of["chance"].tolist())


def test_dictionaries_of_one_place_are_not_joined() -> None:
    runs = {f"blocks.5.hook_resid_pre{end}": Study().layer(n=80)["type_counts"] for end in ("_a", "_b")}
    layers = {f"blocks.{i}.hook_resid_pre": counts for i, counts in enumerate(runs.values())}
    frame = compared({"runs": runs, "layers": layers}, "calibrated")
    apart, joined = plot_dictionaries.dictionaries(
        frame, dict.fromkeys(["runs", "layers"], "x"), title="t"
    ).axes
    assert {line.get_linestyle() for line in apart.lines} == {"None"}
    assert {line.get_marker() for line in apart.lines} == {"_", "o"}
    assert "None" not in {line.get_linestyle() for line in joined.lines}
