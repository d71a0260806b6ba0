"""The dashboard page as text: what it says, and that nothing in it is taken for markup."""

import math
from dataclasses import replace

import lxml.html
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.figures import style as plot_style
from fsrl.pages import histogram as dashboard_histogram
from fsrl.pages import page as dashboard
from fsrl.pages import text as dashboard_text
from fsrl.pages.facts import FeatureFacts
from fsrl.tokens.text import legible
from tests.fixtures.dashboard_facts import HOSTILE, facts_of, hostile_facts

BARE = FeatureFacts(title="t", study="s", hook="h", feature=3, moments={})


def page_of(facts):
    return lxml.html.document_fromstring(dashboard.feature_page(facts).encode())


def section(page, name):
    return " ".join(page.get_element_by_id(name).text_content().split())


def test_a_page_says_what_the_facts_say():
    page = page_of(facts_of())
    assert page.findtext(".//h1/bdi") == "Feature 17"
    place = " ".join(page.find_class("place")[0].text_content().split())
    assert "study mini hook blocks.5.hook_resid_post feature 17 view trained" in place
    assert "type local context by scheme calibrated" in place
    (chip,) = page.find_class("chip")
    assert f"background: {plot_style.TYPE_COLORS['local_context']};" in chip.get("style")
    assert section(page, "explanations") == (
        "Explanations closing bracketsby gpt-4o-mini · oai_token-act-pair endsby author not stated"
    )
    moments = section(page, "moments")
    for shown in (
        "Mean−0.220",
        "Standard deviation0.183",
        "Skewness-0 for",
        "Kurtosis12.3",
        "Norm of the direction1.00",
    ):
        assert shown in moments
    assert "Fires on0.24 %of tokens; log₁₀ −2.62" in moments
    assert section(page, "top") == "Most promoted tokens ␣)+1.50 ⏎+0.25"
    assert section(page, "bottom") == "Most suppressed tokens <C3>−0.75"
    sets = section(page, "sets")
    assert "bracket_closepromoted33.75.971.5e−81.5e−4significant" in sets
    assert "digitssuppressed--0.031-not significant" in sets
    examples = section(page, "examples")
    assert "From a text." in examples and "4.00␣of␣(all)␣so" in examples
    assert section(page, "notes") == "Notes Made here."


def test_the_greatest_activation_is_marked_and_shades_follow_activations():
    page = page_of(facts_of())
    (peak,) = page.find_class("peak")
    assert peak.text_content() == ")"
    shaded = {
        span.text_content(): span.get("style") for span in page.findall(".//section[@id='examples']//p//bdi")
    }
    assert shaded[")"] == f"background: rgb(230 159 0 / {dashboard.STRONGEST})"
    assert shaded["all"] == "background: rgb(230 159 0 / 0.29)"  # a quarter of the way
    assert shaded["␣of"] is None


def test_what_is_absent_is_said():
    page = page_of(BARE)
    assert "type not at hand" in " ".join(page.find_class("place")[0].text_content().split())
    for name, says in (
        ("explanations", "No explanation at hand."),
        ("histogram", "No histogram at hand."),
        ("top", "No top tokens at hand."),
        ("bottom", "No bottom tokens at hand."),
        ("sets", "No enrichment at hand."),
        ("examples", "No text at hand."),
    ):
        assert section(page, name).endswith(says)
    assert section(page, "moments").count("-") == 6 and "density unknown" in section(page, "moments")
    with_text = page_of(replace(BARE, examples_from="ten contexts"))
    assert section(with_text, "examples").endswith("Never active on ten contexts.")


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_a_dash(missing):
    facts = replace(
        BARE,
        moments=dict.fromkeys(("mean", "std", "skewness", "kurtosis", "norm", "log10_density"), missing),
        top=[("a", missing), ("b", 2.0)],
        sets=[{"set": "x", "side": "promoted", "z": missing, "t": missing, "log10_p": missing, "q": missing}],
        examples=[{"tokens": ["a", "b"], "values": [missing, 1.0], "max_index": 1}],
    )
    text = page_of(facts).text_content()
    assert section(page_of(facts), "top") == "Most promoted tokens a- b+2.00"
    assert "nan" not in text.lower() and "inf" not in text.lower()


def test_dead_features_are_called_dead():
    assert "Fires ondeadof tokens; log₁₀ −10.0" in section(
        page_of(replace(BARE, moments={"log10_density": -10})), "moments"
    )


@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_is_shown_and_never_read_as_markup(hostile):
    page = page_of(hostile_facts(hostile))
    assert skeleton(page) == skeleton(page_of(hostile_facts("harmless")))
    shown = dashboard_text.plain(hostile)
    assert page.findtext(".//title") == page.findtext(".//h1/bdi") == shown
    assert page.find(".//blockquote/bdi").text == (shown or "(empty)")
    assert page.find(".//section[@id='notes']//bdi").text_content() == shown
    token = page.find(".//section[@id='top']//code").text_content()
    assert token == legible(hostile, limit=dashboard_text.TOKEN_LIMIT)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_any_text_can_be_stored_and_leaves_the_page_as_it_is(text):
    page = page_of(hostile_facts(text))
    assert skeleton(page) == skeleton(page_of(hostile_facts("harmless")))
    shown = page.text_content()
    assert not any("\ud800" <= char <= "\udfff" or char in "\0\u202e\x1b\x7f" for char in shown)


def skeleton(page):
    """Elements with the names of their attributes, but for the marks that a token's white space gives it."""
    found = [(element.tag, sorted(element.keys())) for element in page.iter()]
    assert all(not names for tag, names in found if tag in ("i", "wbr"))
    return [
        (tag, [name for name in names if (tag, name) != ("code", "title")])
        for tag, names in found
        if tag not in ("i", "wbr")
    ]


def test_the_page_asks_for_nothing():
    """No address in any attribute, no script, and a policy that forbids what might slip through."""
    page = page_of(hostile_facts("http://elsewhere.test/a"))
    assert page.xpath("//script|//img|//iframe|//object|//embed|//base|//form") == []
    assert [
        link.get("href")
        for link in page.xpath("//*[@href or @src or @xlink:href]", namespaces={"xlink": "x"})
    ] == ["data:,"]
    assert "@import" not in (style := page.find(".//style").text) and "url(" not in style
    policy = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    ]
    head = [element.tag for element in page.find(".//head")]
    assert head[:2] == ["meta", "meta"] and page.find(".//head/meta").get("charset") == "utf-8"


def test_bars_are_where_the_bins_are_and_as_high_as_their_logarithm():
    facts = replace(
        BARE, histogram_edges=np.array([-1.0, 0, 1, 2]), histogram_counts=np.array([1, 0, 100]), overflow=3
    )
    drawn = dashboard_histogram.drawing(facts)
    low, high, beyond = drawn.bars
    assert low.width == pytest.approx(high.width) and high.x - low.x == pytest.approx(2 * low.width)
    assert drawn.zero == pytest.approx(low.x + low.width)
    ratio = math.log10(100 / dashboard_histogram.BASE) / math.log10(1 / dashboard_histogram.BASE)
    assert high.height / low.height == pytest.approx(ratio)
    foot = dashboard_histogram.HEIGHT - dashboard_histogram.BOTTOM
    assert all(
        bar.y + bar.height == pytest.approx(foot) and bar.y >= dashboard_histogram.TOP for bar in drawn.bars
    )
    assert beyond.beyond and beyond.x == pytest.approx(high.x + high.width)
    assert (low.says, beyond.says) == ("−1.00 to 0: 1 token", "2.00 or more: 3 tokens")
    assert drawn.y_ticks == [
        (pytest.approx(low.y), "1"),
        (pytest.approx((low.y + high.y) / 2), "10"),
        (pytest.approx(high.y), "100"),
    ]
    assert [label for _, label in drawn.x_ticks] == ["−1.0", "−0.5", "0.0", "0.5", "1.0", "1.5", "2.0"]
    assert drawn.total == 104 and drawn.bell == ""


def test_the_bell_is_the_gaussian_of_the_same_moments():
    edges, moments = np.linspace(-8, 8, 51), {"mean": 0.0, "std": 1.0}
    facts = replace(BARE, histogram_edges=edges, histogram_counts=np.full(50, 1000), moments=moments)
    drawn = dashboard_histogram.drawing(facts)
    points = [tuple(map(float, point.split(","))) for point in drawn.bell[1:].split(" L")]
    top = min(points, key=lambda point: point[1])
    assert top[0] == pytest.approx(drawn.zero, abs=0.1)
    tallest = dashboard_histogram._Axes(-8, 8, 1000).y(50_000 * 0.32 / math.sqrt(2 * math.pi))
    assert top[1] == pytest.approx(tallest, abs=0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"histogram_edges": np.zeros(4), "histogram_counts": np.array([5, 0, 0])},
        {"histogram_edges": [0.0, math.nan], "histogram_counts": [1]},
        {"histogram_edges": [0.0, 1.0], "histogram_counts": [0]},
    ],
)
def test_no_histogram_where_there_is_nothing_to_draw(change):
    assert "No histogram at hand." in section(page_of(replace(BARE, **change)), "histogram")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (-0.2199, "−0.220"),
        (0.0009996, "0.00100"),
        (0.0009994, "9.99e−4"),
        (999.6, "1,000"),
        (123456.0, "123,456"),
        (1.5e7, "1.50e7"),
        (-1e-12, "−1.00e−12"),
    ],
)
def test_numbers(value, shown):
    assert dashboard_text.number(value) == shown


@pytest.mark.parametrize(
    ("log10", "shown"),
    [(-1.0, "0.10"), (0.0, "1.0"), (-1234.5, "3.2e−1235"), (-8.0000001, "1.0e−8"), (-math.inf, "-")],
)
def test_powers(log10, shown):
    assert dashboard_text.power(log10) == shown


def test_weights_in_a_column_have_the_same_decimals():
    assert dashboard_text.column([12.34, -0.456, math.nan]) == ["+12.3", "−0.5", "-"]
    assert dashboard_text.column([0.0, 0.0]) == ["+0.00", "+0.00"]


def test_long_tokens_are_cut_and_can_be_read_whole():
    page = page_of(replace(BARE, top=[("-" * 128, 1.0)]))
    code = page.find(".//section[@id='top']//code")
    assert len(code.text_content()) == dashboard_text.TOKEN_LIMIT and code.get("title") == "-" * 128


def test_every_type_has_a_chip_that_can_be_read():
    for name, color in plot_style.TYPE_COLORS.items():
        (chip,) = page_of(replace(BARE, type_name=name)).find_class("chip")
        ink = chip.get("style").rpartition("color: ")[2]
        assert _contrast(color, ink) >= 4.5, name


def _contrast(one, other):
    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_what_does_not_fit_is_refused():
    with pytest.raises(FsrlError, match="unknown type '<b>'; known: partition"):
        dashboard.feature_page(replace(BARE, type_name="<b>"))
    with pytest.raises(FsrlError, match="feature 3: 2 histogram edges for 2 counts"):
        replace(BARE, histogram_edges=[0.0, 1.0], histogram_counts=[1, 2])
    for example in (
        {"tokens": ["a"], "values": [1.0, 2.0], "max_index": 0},
        {"tokens": ["a"], "values": [1.0], "max_index": 1},
    ):
        with pytest.raises(FsrlError, match="example 0 has 1 tokens"):
            replace(BARE, examples=[example])


def test_it_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "page.html"
    facts = hostile_facts("\ud800 é")
    dashboard.write(facts, path)
    assert path.read_bytes() == dashboard.feature_page(facts).encode()
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(FsrlError, match="make room"):
        dashboard.write(facts_of(), path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
