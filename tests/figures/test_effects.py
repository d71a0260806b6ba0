"""Figures of measured effects: what they show, from tables made by hand."""

import pytest
from matplotlib.text import Text

from fsrl.effects import summary as effect_summary
from fsrl.figures import effects as effect_plots
from fsrl.figures.style import SMALL
from tests.fixtures.plot_effects import agreement_of, effects_of

SAES = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"]


@pytest.fixture(scope="module")
def effects():
    return {sae: effects_of(i) for i, sae in enumerate(SAES)}


@pytest.fixture(scope="module")
def summary(effects):
    agreement = {sae: agreement_of(i) for i, sae in enumerate(SAES)}
    return effect_summary.summarise(effects, agreement, seed=0)


@pytest.fixture(scope="module")
def by_hook():
    return effect_summary.by_hook({sae: agreement_of(i) for i, sae in enumerate(SAES)}, seed=0)


def texts(figure):
    figure.canvas.draw()
    return [text for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


def drawn(ax):
    """The heights of all that is drawn in a panel, rounded."""
    return {round(float(y), 9) for line in ax.lines for y in line.get_ydata() if not isinstance(y, str)}


def test_every_figure_names_its_study_and_hooks_in_readable_letters(effects, summary, by_hook):
    figures = [
        effect_plots.agreement(by_hook, title="mini · x"),
        effect_plots.agreement_by_type(summary, title="mini · x"),
        effect_plots.moments(effects, title="mini · x"),
        effect_plots.retention(effect_summary.retention(effects), title="mini · x"),
    ]
    for figure in figures:
        found = texts(figure)
        words = " ".join(text.get_text() for text in found)
        assert "mini · x" in words and "0 pre" in words and "1 post" in words
        assert min(text.get_fontsize() for text in found if isinstance(text, Text)) >= SMALL


def test_agreement_draws_each_prediction_at_its_hook_and_the_control(by_hook):
    figure = effect_plots.agreement(by_hook, title="x")
    assert figure.axes[0].get_title() == "feature active at the position"
    rows = by_hook[by_hook["state"] == "active"]
    mine = rows[rows["direction"] == "feature"]
    control = rows[(rows["direction"] == "matched") & (rows["prediction"] == "transported")]
    wanted = {round(value, 9) for value in [*mine["pearson"], *control["pearson"]]}
    assert wanted <= drawn(figure.axes[0])
    over = mine.loc[mine["prediction"] != "direct", "over_direct"]
    assert {round(value, 9) for value in over} <= drawn(figure.axes[2])
    against = mine["over_matched"].dropna()
    assert len(against) == 6 and {round(value, 9) for value in against} <= drawn(figure.axes[4])


def test_agreement_without_transport_says_so_and_holds_the_weights_against_the_control(by_hook):
    without = by_hook[~by_hook["prediction"].isin(["transported", "own_mean"])]
    figure = effect_plots.agreement(without, title="x")
    words = " ".join(text.get_text() for text in texts(figure))
    assert "no matrices of transport were measured" in words and "(T)" not in words
    control = without[(without["direction"] == "matched") & (without["prediction"] == "direct")]
    active = control[control["state"] == "active"]
    assert {round(value, 9) for value in active["pearson"]} <= drawn(figure.axes[0])
    assert "no matrices" not in effect_plots.agreement(by_hook, title="x").get_suptitle()


def test_agreement_by_type_draws_each_types_mean_at_its_layer(summary):
    figure = effect_plots.agreement_by_type(summary, title="x")
    ax = figure.axes[0]
    assert ax.get_title() == "feature active at the position"
    expected = summary[(summary["state"] == "active")]["pearson"]
    assert {round(value, 9) for value in expected} <= drawn(ax)


def test_retention_shows_the_shares_in_percent(effects):
    figure = effect_plots.retention(effect_summary.retention(effects), title="x")
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words.count("100") == 2 and set(words) == {"0", "100"}
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "prediction\n(2)" in labels and "suppression\n(0)" in labels
    assert not any("unclassified" in label for label in labels)
