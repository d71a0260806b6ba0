"""A feature's page alone, in headless Chromium: what a person sees, nothing else runs or is asked for."""

import re
from dataclasses import replace

import pytest

from fsrl.analyzer.pages import LocalPage
from fsrl.figures.style import TYPE_COLORS
from fsrl.notebooks import page as notebook_page
from fsrl.pages import page as dashboard
from fsrl.pages import text as dashboard_text
from fsrl.pages.facts import FeatureFacts
from fsrl.tokens.text import legible
from tests.fixtures.dashboard_facts import HOSTILE, facts_of, hostile_facts
from tests.fixtures.driven_browser import Visit, chromium, texts
from tests.notebooks.sources import notebook_of

IMAGE = '<img src="http://leak.test/image.png"><img src="https://leak.test/safe.png">'
SCRIPT = "<script>parent.ran = true; window.ran = true</script>"
BARE = FeatureFacts(title="t", study="s", hook="h", feature=3, moments={})


def without_policy(page):
    """The page without its Content-Security-Policy: the escaping has to do alone."""
    bare, removed = re.subn(r"<meta http-equiv[^>]*>", "", page)
    assert removed == 1
    return bare


@pytest.mark.parametrize("width", [640, 1200])
def test_a_person_sees_the_feature(browser, width):
    seen = browser.seen(dashboard.feature_page(facts_of()), width)
    lines = [line.strip() for line in seen["text"].splitlines()]
    assert seen["title"] == lines[0] == "Feature 17"
    for shown in (
        "closing brackets", "by gpt-4o-mini \u00b7 oai_token-act-pair", "local context", "0.183", "12.3",
        "0.24 %", "␣)", "+1.50", "<C3>", "−0.75", "bracket_close", "1.5e−8", "0.750", "tokens (log scale)",
        "below 75.0 % of isotropic directions", "above all of isotropic directions",
        "above 99.9 % of spectrum directions", "below more than 99.9 % of isotropic directions",
        "isotropic (solid), spectrum (dotted)", "Made here.",
    ):  # fmt: skip
        assert any(shown in line for line in lines), shown
    assert "␣of␣(all)␣so" in seen["text"]
    assert seen["overflow"] == "0" and seen["clipped"] == ""
    # Transparent, a quarter of the way to the strongest, and the strongest.
    alphas = [float(alpha) for alpha in re.findall(r"rgba\(\d+, \d+, \d+, ([\d.]+)\)", seen["shades"])]
    assert alphas == pytest.approx([0, 0, 0.29, 0.85, 0], abs=0.01)
    assert seen["bars"] == "9"  # eight bins that hold tokens, and those beyond
    assert browser.asked == []


def test_foreign_text_is_text(browser):
    """Escaping alone, without the policy: each text is read as written, nothing ran or was fetched."""
    for hostile in HOSTILE[:5]:
        seen = browser.seen(without_policy(dashboard.feature_page(hostile_facts(hostile))), 640)
        shown = " ".join(dashboard_text.plain(hostile).split())
        text = " ".join(seen["text"].split())
        assert text.count(shown) >= 6 and " ".join(seen["title"].split()) == shown
        assert legible(hostile, limit=dashboard_text.TOKEN_LIMIT) in seen["text"]
        assert seen["ran"] == "false" and browser.asked == []
        assert seen["overflow"] == "0" and seen["clipped"] == ""


def test_characters_that_cannot_be_seen_break_nothing(browser):
    seen = browser.seen(dashboard.feature_page(hostile_facts("".join(HOSTILE[6:9]))), 640)
    for shown in ("<U+D83D> lone", "<U+0000> NUL", "<U+202E>gnihton", "\U0001f469\u200d\U0001f52c", "中文"):
        assert shown in seen["text"]
    assert seen["overflow"] == "0" and seen["clipped"] == ""


def test_long_words_and_many_sets_stay_inside(browser):
    facts = hostile_facts("W" * 200)
    assert browser.seen(dashboard.feature_page(facts), 640)["overflow"] == "0"


def test_the_recorder_would_see_a_request_and_a_script(browser):
    """The other tests can fail: with an image and a script in the page, and no policy, both are noticed."""
    page = without_policy(dashboard.feature_page(facts_of())).replace("</body>", IMAGE + SCRIPT + "</body>")
    seen = browser.seen(page)
    assert seen["ran"] == "true"
    assert "http://leak.test/image.png" in browser.asked and "leak.test:443" in browser.asked


def test_the_policy_stops_what_escaping_would_let_through(browser):
    """And lets the page's own script run."""
    page = dashboard.feature_page(facts_of()).replace("</body>", IMAGE + SCRIPT + "</body>")
    assert IMAGE in page
    seen = browser.seen(page)
    assert seen["ran"] == "false" and browser.asked == [] and seen["bars"] == "9"


def test_the_page_opens_from_a_file(browser, tmp_path):
    dashboard.write(facts_of(), tmp_path / "page.html")
    document = browser.dump((tmp_path / "page.html").as_uri())
    assert document.findtext(".//h1/bdi") == "Feature 17" and browser.asked == []
    assert document.find(".//section[@id='page-histogram']//svg") is not None


# ---- by a driver: frames, widths, schemes, no scripts
@pytest.fixture(scope="module")
def driven():
    with chromium() as found:
        yield found


def shown(driven, tmp_path, page, **options):
    """The page opened as a file, and what happened there."""
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    visit = Visit(driven, **options)
    visit.page.goto(path.as_uri())
    return visit


def test_what_is_absent_is_said(driven, tmp_path):
    page = shown(driven, tmp_path, dashboard.feature_page(BARE)).page
    assert "type not at hand" in " ".join(page.inner_text(".place").split())
    for name, says in (
        ("explanations", "No explanation at hand."),
        ("histogram", "No histogram at hand."),
        ("top", "No top tokens at hand."),
        ("bottom", "No bottom tokens at hand."),
        ("sets", "No enrichment at hand."),
        ("examples", "No text at hand."),
    ):
        assert page.inner_text(f"#page-{name}").endswith(says)
    assert texts(page, "#page-moments", "dd:not(.unit)") == ["-"] * 6
    assert page.locator("#page-notes, #page-effects, #page-near, #page-same").count() == 0
    unread = replace(BARE, examples_from="ten contexts")
    page = shown(driven, tmp_path, dashboard.feature_page(unread)).page
    assert page.inner_text("#page-examples").endswith("Never active on ten contexts.")


def test_a_constant_row_has_no_histogram(driven, tmp_path):
    facts = replace(BARE, spread=(1.0, 0.0), counts=[0, 5, 0], type_name="degenerate")
    page = shown(driven, tmp_path, dashboard.feature_page(facts)).page
    assert page.inner_text("#page-histogram").endswith("No histogram at hand.")
    assert page.inner_text(".chip") == "degenerate"


def test_bars_are_where_the_bins_are_and_as_high_as_their_logarithm(driven, tmp_path):
    facts = replace(BARE, spread=(0.5, 1.0), counts=[1, 0, 10, 100], overflow=3)
    page = shown(driven, tmp_path, dashboard.feature_page(facts)).page
    bars = page.eval_on_selector_all(
        ".bars rect",
        "(all) => all.map((one) => ['x', 'y', 'width', 'height'].map((name) => +one.getAttribute(name)))",
    )
    low, middle, high, beyond = bars
    assert low[2] == pytest.approx(high[2], abs=0.1) and high[0] - low[0] == pytest.approx(
        3 * low[2], abs=0.2
    )
    assert high[3] - middle[3] == pytest.approx(middle[3] - low[3], abs=0.2)  # a decade each
    assert {round(y + height) for _, y, _, height in bars} == {218}
    assert beyond[0] == pytest.approx(high[0] + high[2], abs=0.2)
    assert texts(page, ".bars", "title") == [
        "−7.50 to −3.50: 1 token", "0.500 to 4.50: 10 tokens", "4.50 to 8.50: 100 tokens",
        "8.50 or more: 3 tokens",
    ]  # fmt: skip
    bell = [tuple(map(float, point.split(","))) for point in page.get_attribute(".bell", "d")[1:].split(" L")]
    zero = float(page.get_attribute(".zero", "d")[1:].split()[0])
    top = min(bell, key=lambda point: point[1])
    assert top[0] == pytest.approx(zero + low[2] / 8, abs=0.3)  # half a std right of 0, where a bin is 4


def test_every_type_has_a_chip_that_can_be_read(driven, tmp_path):
    for name, color in TYPE_COLORS.items():
        page = shown(driven, tmp_path, dashboard.feature_page(replace(BARE, type_name=name))).page
        style = page.get_attribute(".chip", "style")
        ink = style.rpartition("color: ")[2]
        assert f"background: {color};" in style and contrast(color, ink) >= 4.5, name


def contrast(one, other):
    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_in_light_and_dark(driven, tmp_path, width, scheme):
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    visit = shown(driven, tmp_path, dashboard.feature_page(facts_of()), **options)
    root = "document.documentElement"
    assert visit.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0 and visit.said == []
    style = "getComputedStyle(document.body)"
    colors = visit.page.evaluate(f"[{style}.color, {style}.backgroundColor]")
    ink, ground = (sum(map(int, re.findall(r"\d+", color)[:3])) for color in colors)
    assert (ink > ground + 400) if scheme == "dark" else (ground > ink + 400)
    assert len(visit.page.get_attribute("svg[role=img]", "aria-label")) > 10


def test_without_scripts_the_numbers_are_there(driven, tmp_path):
    page = shown(driven, tmp_path, dashboard.feature_page(facts_of()), java_script_enabled=False).page
    seen = page.inner_text("body")
    for said in (
        "Feature 17",
        "local context",
        "Kurtosis: 12.3",
        "␣) +1.50",
        "bracket_close: promoted",
        "Made here.",
    ):
        assert said in seen
    assert "drawn by a script" in seen


def frames(facts):
    return [LocalPage(dashboard.feature_page(one), "why", "100%", 700)._repr_html_() for one in facts]


@pytest.mark.parametrize("ours", [True, False], ids=["our notebook page", "another's"])
def test_two_pages_in_a_notebook_are_drawn_and_reach_nothing(driven, tmp_path, ours):
    """In the workflow's own page of a notebook, which has a policy, and in one without."""
    facts = [facts_of(), replace(facts_of(), title=SCRIPT, feature=18, top=[("x", 2.0)])]
    outputs = [{"text/html": frame} for frame in frames(facts)]
    page = "".join(one["text/html"] for one in outputs)
    if ours:
        page = notebook_page.html(notebook_of(*outputs), note="made here")
    visit = shown(driven, tmp_path, page)
    inner = visit.page.frames[1:]
    for frame, one in zip(inner, facts, strict=True):
        frame.wait_for_selector("#page-histogram svg")
        assert frame.inner_text("h1") == one.title
        assert frame.locator("#page-top li").count() == len(one.top)
        assert frame.evaluate("window.origin") == "null"
        assert frame.evaluate("[typeof Page, typeof format, typeof element]") == ["undefined"] * 3
    assert visit.said == [] and visit.page.evaluate("window.ran") is None
    assert [url for url in visit.asked if not url.startswith(("file:", "about:", "data:"))] == []
