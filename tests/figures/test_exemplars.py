"""Figure of the exemplars: which features, which tokens, and that every token can be read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle, StepPatch

from fsrl.figures import exemplars as plot_exemplars
from fsrl.figures import files as figure_files
from fsrl.figures.style import TYPE_COLORS
from fsrl.names import TYPES
from fsrl.types import select
from tests.fixtures.plot_figures import draw_layer, drawn_texts, words
from tests.fixtures.plot_tables import DANGEROUS, Study


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return Study().stored_layer(tmp_path_factory.mktemp("layer"), empty=("suppression", "two_sided"))


def test_exemplars_are_the_features_of_largest_evidence_in_their_colour(layer: dict) -> None:
    figure = draw_layer("exemplars", layer)
    labelled = select.typed(layer["moments"], layer["types"], "calibrated")
    panels = [ax for ax in figure.axes if any(isinstance(patch, StepPatch) for patch in ax.patches)]
    colors = []
    for name in ("partition", "local_context", "prediction"):
        mine = labelled[labelled["type"] == name]
        rare = mine[mine["log10_density"] < -1]  # in this order
        best = rare.sort_values("evidence", ascending=False).head(3)
        assert len(best) == 3
        positions = [words(figure).find(f"feature {feature} · evidence") for feature in best["feature"]]
        assert positions == sorted(positions) and positions[0] > 0
        colors += [TYPE_COLORS[name]] * 3
    steps = [next(patch for patch in ax.patches if isinstance(patch, StepPatch)) for ax in panels]
    assert [to_hex(step.get_facecolor()).upper() for step in steps] == colors


def test_exemplars_say_none_for_an_empty_type(layer: dict) -> None:
    text = words(draw_layer("exemplars", layer))
    assert text.count("none (expected by chance: at most 0.3)") == 2
    assert "suppression" in text


def test_exemplar_shows_all_tokens_of_its_histogram(layer: dict) -> None:
    figure = draw_layer("exemplars", layer)
    panels = [ax for ax in figure.axes if any(isinstance(patch, StepPatch) for patch in ax.patches)]
    ax = panels[3]  # the first of local context, with tokens beyond its histogram; three partitions have none
    step = next(patch for patch in ax.patches if isinstance(patch, StepPatch))
    beyond = [bar.get_y() + bar.get_height() for bar in ax.patches if isinstance(bar, Rectangle)]
    assert step.get_data().values.sum() + sum(beyond) == 400
    assert len(beyond) == 1


def test_tokens_neither_overlap_nor_lose_their_text(layer: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw_layer("exemplars", layer)
    texts = [text for text in drawn_texts(figure, monkeypatch) if text in figure.texts]
    boxes = np.array([text.get_window_extent().shrunk(0.98, 0.5).extents for text in texts])
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        later = boxes[i + 1 :]
        hit = (later[:, 0] < x1) & (later[:, 2] > x0) & (later[:, 1] < y1) & (later[:, 3] > y0)
        assert not hit.any(), f"{texts[i].get_text()!r} and {texts[i + 1 + int(np.argmax(hit))].get_text()!r}"


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_dangerous_tokens_are_printed_as_they_are(layer: dict, suffix: str, tmp_path: Path) -> None:
    extremes = layer["extremes"].copy()
    extremes["token"] = [
        DANGEROUS[i % len(DANGEROUS)] for i in extremes["rank"] + 10 * (extremes["side"] == "top")
    ]
    tables = (layer["moments"], layer["types"], layer["type_counts"], extremes, layer["histograms"])
    figure = plot_exemplars.exemplars(*tables, scheme="calibrated", title="$1 · a_b", n_tokens=10)
    figure_files.save(figure, tmp_path / f"figure.{suffix}")
    text = words(figure).split("\n")
    for shown in (
        "$x_1$",
        "\\frac{a}{b}",
        "${",
        "$$",
        "⏎",
        "⇥",
        "<0D>",
        "<C3>",
        "<U+4E2D>",
        "<U+00AD>",
        "<U+0301>",
    ):
        assert shown in text
    assert any(line.startswith("WW") and "…" in line for line in text)


@pytest.mark.parametrize(
    ("log10_density", "alive", "text"),
    [
        (-2.0, True, "fires on 1.0 % of tokens"),
        (-10.0, False, "dead"),
        (np.nan, pd.NA, "firing rate unknown"),
    ],
)
def test_captions_say_how_often_a_feature_fires(
    log10_density: float, alive: object, text: str, layer: dict
) -> None:
    row = select.typed(layer["moments"], layer["types"], "calibrated").iloc[0].copy()
    row["log10_density"], row["alive"] = log10_density, alive
    assert plot_exemplars.caption(row)[2] == text


def test_exemplars_of_every_type_fit_a_page() -> None:
    frames = Study().layer()
    types = frames["types"]
    label = types["type"].mask(types["feature"] == 200, "suppression")
    figure = draw_layer("exemplars", frames | {"types": types.assign(type=label)})
    assert set(TYPES) <= set(label)
    assert figure.get_figheight() <= 9.7
