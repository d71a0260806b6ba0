"""Figures of planted truth."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from fsrl.figures import planted as plot_planted
from fsrl.figures.style import TYPE_COLORS
from fsrl.names import TYPES
from tests.fixtures import plot_evidence_tables
from tests.fixtures.plot_figures import assert_legible, words

TITLE = "mini · planted truth"


def test_recovery_curves_are_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = plot_evidence_tables.recovery(tmp_path)
    figure = plot_planted.recovery(table, scheme="calibrated", title=TITLE)
    assert_legible(figure, monkeypatch)
    assert TITLE in words(figure)
    assert "1 % planted (10 of each type)" in words(figure) and "15 % planted (150 of" in words(figure)
    table = table[table["scheme"] == "calibrated"]
    # No plant is two-sided.
    curves = [(name, "all") for name in TYPES if name != "two_sided"] + [("partition", "even")]
    for i, measure in enumerate(("recall", "precision")):
        for j, share in enumerate((0.01, 0.15)):
            ax = figure.axes[2 * i + j]
            lines = [line for line in ax.lines if line.get_marker() != "None"]
            colors = [to_hex(line.get_color()).upper() for line in lines]
            assert colors == [TYPE_COLORS[name] for name, _ in curves]
            assert [line.is_dashed() for line in lines] == 4 * [False] + [True]
            for line, (name, population) in zip(lines, curves, strict=True):
                of = (table["planted_share"] == share) & (table["type"] == name)
                part = table[of & (table["population"] == population) & (table["planted"] > 0)]
                assert line.get_xdata() == pytest.approx(part["strength"].to_numpy())
                assert line.get_ydata() == pytest.approx(part[measure].to_numpy())
            # An interval a type, of all that was planted.
            bands = [band.get_datalim(ax.transData) for band in ax.collections]
            planted = table[(table["planted_share"] == share) & (table["type"] == "prediction")]
            planted = planted[planted["population"] == "all"]
            assert len(bands) == len(curves) - 1
            assert bands[2].ymin == pytest.approx(planted[f"{measure}_low"].min())
            assert bands[2].ymax == pytest.approx(planted[f"{measure}_high"].max())
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "two-sided" not in legend and "partition, at least a quarter" in legend


def test_recovery_by_set_writes_every_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = plot_evidence_tables.recovery_by_set(tmp_path)
    figure = plot_planted.recovery_by_set(table, scheme="calibrated", title=TITLE)
    assert_legible(figure, monkeypatch)
    titles = ["partition", "local context", "prediction", "suppression"]
    assert [ax.get_title() for ax in figure.axes] == titles
    for ax in figure.axes:
        cells = [text.get_text() for text in ax.texts]
        assert cells == [f"{100 * s / 12:.0f}" for s in plot_evidence_tables.STRENGTHS] * 2
        frames = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
        # Clear are the cells of the greatest strength: the last column.
        assert [round(frame.get_x() + frame.get_width() / 2) for frame in frames] == [2, 2]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["11 %", "50 %"]
    assert np.asarray(figure.axes[0].images[0].get_array()).shape == (2, 3)
