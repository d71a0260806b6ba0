"""Figures of what transport makes of logit weights: which features are shown, and what of them."""

import numpy as np
import pytest

from fsrl.effects.names import DIRECT, TRANSPORTED
from fsrl.figures import transported
from tests.fixtures.plot_effects import FEATURES
from tests.fixtures.plot_transported import EVIL, layer

SAES = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"]


@pytest.fixture(scope="module")
def layers():
    return {sae: layer(i, list(FEATURES)[: 6 - 5 * (i == 1)]) for i, sae in enumerate(SAES)}


def test_features_are_chosen_in_turns_by_kurtosis_among_those_with_a_context(layers):
    found = transported.chosen(layers, 6)
    by_hand = {}
    for sae, of in layers.items():
        kurtosis = of.moments[TRANSPORTED].set_index("feature")["kurtosis"].loc[of.contexts["feature"]]
        by_hand[sae] = kurtosis.sort_values(ascending=False).index.tolist()
    # One feature of the second hook has a context; its turns go to the others.
    expected = [(SAES[0], feature) for feature in by_hand[SAES[0]][:3]] + [(SAES[1], by_hand[SAES[1]][0])]
    expected += [(SAES[2], feature) for feature in by_hand[SAES[2]][:2]]
    assert found == expected
    assert len(transported.chosen(layers)) == 10 and len(transported.chosen(layers, 100)) == 13


def test_tokens_shows_the_top_tokens_of_both_and_the_context_as_it_is(layers):
    figure = transported.tokens(layers, title="mini · x")
    figure.canvas.draw()
    words = [text.get_text() for text in figure.texts]
    for sae, feature in transported.chosen(layers):
        assert str(feature) in words
        for word in "dt":
            assert {f"{word}{feature}t{rank}" for rank in range(5)} <= set(words)
        rows = layers[sae].agreement
        rows = rows[(rows["feature"] == feature) & (rows["direction"] == "feature")]
        rows = rows[(rows["state"] == "active") & (rows["step"] == "+1")].set_index("prediction")
        for name in (DIRECT, TRANSPORTED):
            assert f"{rows.loc[name, 'pearson']:.2f}" in words
    assert not any(word.startswith("d") and "b" in word[1:] for word in words)
    # Neither mathematics nor a bell: what is in the text stands there as text.
    assert words.count(EVIL) == 10 and not any(text.get_parse_math() for text in figure.texts)
    assert not any("\x07" in word for word in words)


def test_a_long_text_is_cut_where_the_token_is_not(layers):
    long = layer(0)
    long.contexts["before"] = "word " * 40
    figure = transported.tokens({SAES[0]: long}, title="x")
    words = [text.get_text() for text in figure.texts]
    assert any(word.startswith("\u2026") and word.endswith("word ") for word in words)


def test_moments_draw_the_quantiles_of_either_view_and_of_chance(layers):
    figure = transported.moments(layers, title="x")
    for ax, column, ends in zip(
        figure.axes, ("skewness", "kurtosis", "std"), ((0.71, -0.71), (4.21, 2.51), ()), strict=True
    ):
        heights = {
            round(float(y), 9) for line in ax.lines for y in line.get_ydata() if not isinstance(y, str)
        }
        for of in layers.values():
            for name in (DIRECT, TRANSPORTED):
                quantiles = np.quantile(of.moments[name][column], transported.BARS)
                assert {round(value, 9) for value in quantiles} <= heights
        assert set(ends) <= heights


def test_printed_keeps_one_line_and_only_what_the_font_has():
    assert transported.printed("a\nb") == "a\u21b5b"
    assert transported.printed("\u4e2dx") == "<U+4E2D>x"
