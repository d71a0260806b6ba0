"""The dashboard in headless Chromium: what a person sees, that nothing runs, that nothing is asked for."""

import re

import pytest

from fsrl.pages import page as dashboard
from fsrl.pages import text as dashboard_text
from fsrl.tokens.text import legible
from tests.fixtures.dashboard_facts import HOSTILE, facts_of, hostile_facts

IMAGE = '<img src="http://leak.test/image.png"><img src="https://leak.test/safe.png">'
SCRIPT = "<script>parent.ran = true; window.ran = true</script>"


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
        "0.24 %", "␣)", "+1.50", "<C3>", "−0.75", "bracket_close", "1.5e−8", "tokens (log scale)",
        "Made here.",
    ):  # fmt: skip
        assert any(shown in line for line in lines), shown
    assert "␣of␣(all)␣so" in seen["text"]
    assert seen["overflow"] == "0" and seen["clipped"] == ""
    # Transparent, a quarter of the way to the strongest, and the strongest.
    alphas = [float(alpha) for alpha in re.findall(r"rgba\(\d+, \d+, \d+, ([\d.]+)\)", seen["shades"])]
    assert alphas == pytest.approx([0, 0, 0.29, dashboard.STRONGEST, 0], abs=0.01)
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
    page = without_policy(dashboard.feature_page(facts_of())).replace("</main>", IMAGE + SCRIPT + "</main>")
    seen = browser.seen(page)
    assert seen["ran"] == "true"
    assert "http://leak.test/image.png" in browser.asked and "leak.test:443" in browser.asked


def test_the_policy_stops_what_escaping_would_let_through(browser):
    page = dashboard.feature_page(facts_of()).replace("</main>", IMAGE + SCRIPT + "</main>")
    assert IMAGE in page
    assert browser.seen(page)["ran"] == "false" and browser.asked == []


def test_the_page_opens_from_a_file(browser, tmp_path):
    dashboard.write(facts_of(), tmp_path / "page.html")
    document = browser.dump((tmp_path / "page.html").as_uri())
    assert document.findtext(".//h1/bdi") == "Feature 17" and browser.asked == []
