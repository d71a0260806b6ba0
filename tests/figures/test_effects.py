"""Figures of measured effects: what they show, from tables made by hand."""

import pytest
from matplotlib.text import Text

from fsrl.effects import summary as effect_summary
from fsrl.figures import effects as effect_plots
from fsrl.figures.style import SMALL
from tests.fixtures.plot_effects import effects_of

SAES = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"]


@pytest.fixture(scope="module")
def effects():
    return {sae: effects_of(i) for i, sae in enumerate(SAES)}


def texts(figure):
    figure.canvas.draw()
    return [text for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


def test_every_figure_names_its_study_and_hooks_in_readable_letters(effects):
    summary = effect_summary.summarise(effects, seed=0)
    figures = [
        effect_plots.agreement(summary, title="mini · x"),
        effect_plots.moments(effects, title="mini · x"),
        effect_plots.retention(effect_summary.retention(effects), title="mini · x"),
    ]
    for figure in figures:
        found = texts(figure)
        words = " ".join(text.get_text() for text in found)
        assert "mini · x" in words and "0 pre" in words and "1 post" in words
        assert min(text.get_fontsize() for text in found if isinstance(text, Text)) >= SMALL


def test_agreement_draws_each_types_mean_at_its_layer(effects):
    summary = effect_summary.summarise(effects, seed=0)
    figure = effect_plots.agreement(summary, title="x")
    ax = figure.axes[0]
    assert ax.get_title() == "feature active at the position"
    drawn = {round(float(y), 9) for line in ax.lines for y in line.get_ydata() if not isinstance(y, str)}
    expected = summary[(summary["state"] == "active")]["pearson"]
    assert {round(value, 9) for value in expected} <= drawn


def test_retention_shows_the_shares_in_percent(effects):
    figure = effect_plots.retention(effect_summary.retention(effects), title="x")
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words.count("100") == 3 and set(words) == {"0", "100"}
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "prediction (2)" in labels and "suppression (0)" in labels
