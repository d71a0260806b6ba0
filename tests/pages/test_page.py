"""A feature's page as text: the record that its script draws, the plain text below it, nothing is markup.

What a person sees of it once the script has run is in tests/browser/test_dashboard_page.py.
"""

import base64
import hashlib
import json
import math
import re
from dataclasses import replace

import lxml.html
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.moments.formulas import HISTOGRAM_HALF_WIDTH
from fsrl.names import LABELS
from fsrl.pages import page as dashboard
from fsrl.pages import record, renderer
from fsrl.pages import text as dashboard_text
from fsrl.pages.facts import FeatureFacts
from fsrl.tokens.text import legible
from tests.fixtures.dashboard_facts import HOSTILE, facts_of, hostile_facts

BARE = FeatureFacts(title="t", study="s", hook="h", feature=3, moments={})


def page_of(facts, hide=()):
    return lxml.html.document_fromstring(dashboard.feature_page(facts, hide).encode())


def given_to(page):
    """What the page's script is given."""
    return json.loads(page.get_element_by_id("facts").text)


def plain(page):
    """What stands there where no script may run."""
    return [" ".join(one.text_content().split()) for one in page.get_element_by_id("feature").iterchildren()]


def test_a_page_holds_the_record_of_its_facts():
    facts = facts_of()
    page = page_of(facts)
    found = given_to(page)
    assert found == json.loads(json.dumps(dashboard.record_of(facts)))
    assert (found["title"], found["feature"], found["layer"]) == ("Feature 17", 17, 0)
    study, row, own = found["study"], found["row"], found["page"]
    assert (study["study"], study["view"], study["scheme"]) == ("mini", "trained", "calibrated")
    assert study["layers"][0]["hook"] == "blocks.5.hook_resid_post" and study["text"] == "a text"
    assert study["layers"][0]["shapes"] == facts.shapes
    assert {name: row[name] for name in record.MOMENTS} == facts.moments
    assert LABELS[row["type"]] == "local_context" and row["dead"] == 0
    assert row["explanations"] == [
        ["closing brackets", "gpt-4o-mini · oai_token-act-pair"], ["ends", "author not stated"]
    ]  # fmt: skip
    shown = found["tokens"]["shown"]
    assert [shown[i] for i in row["top"]] == ["␣)", "⏎"] and own["top_weights"] == [1.5, 0.25]
    assert [shown[i] for i in row["bottom"]] == ["<C3>"] and own["bottom_weights"] == [-0.75]
    assert own["histogram"] == [50, 18, 0, 7, 3, 30, 300, 900, 900, 300, 30, 3]
    assert own["spread"] == [-0.22, 0.1834] and own["ranks"] == facts.ranks
    assert [study["sets"][one[0]] for one in own["sets"]] == ["bracket_close", "digits"]
    assert own["sets"][0][1:] == [1, 33.7, 5.97, -7.82, -3.824, 1, 0.75, -0.5]
    assert own["sets"][1][1:] == [0, None, None, -1.51, None, 0, None, None]
    ((activation, peak, ids, shares),) = own["examples"]
    assert (activation, peak, shares) == (4, 3, [0, 0, 25, 100, 0])
    assert [shown[i] for i in ids] == ["␣of", "␣(", "all", ")", "␣so"]
    assert own["notes"] == ["Made here."]


def test_without_scripts_the_page_says_its_numbers():
    assert plain(page_of(facts_of())) == [
        "Feature 17",
        "study mini; hook blocks.5.hook_resid_post; view trained; type local context by scheme calibrated",
        "Explanations",
        "closing brackets (by gpt-4o-mini · oai_token-act-pair)ends (by author not stated)",
        "Moments of the logit weights",
        "Mean: −0.220 (logit per unit of activation)Standard deviation: 0.183 (logit per unit of activation)"
        "Skewness: - (0 for a Gaussian)Kurtosis: 12.3 (3 for a Gaussian)"
        "Norm of the direction: 1.00 (residual per unit of activation)"
        "Fires on: 0.24 % (of tokens; log₁₀ −2.62)",
        "Most promoted tokens",
        "␣) +1.50⏎ +0.25",
        "Most suppressed tokens",
        "<C3> −0.75",
        "Enriched token sets",
        "bracket_close: promoted, z 33.7, t 5.97, p 1.5e−8, q 1.5e−4, significant"
        "digits: suppressed, z -, t -, p 0.031, q -, not significant",
        "Notes",
        "Made here.",
        "Histogram and contexts are drawn by a script, which may not run here: open the page by itself.",
    ]


def test_what_is_absent_is_null_or_said():
    page = page_of(BARE)
    found = given_to(page)
    assert all(found["row"][name] is None for name in (*record.MOMENTS, "type"))
    assert found["row"]["top"] == found["row"]["bottom"] == found["page"]["examples"] == []
    assert "sets" not in found["page"] and "ranks" not in found["page"] and found["study"]["text"] is None
    assert found["page"]["histogram"] == [0, 0, 0, 0]
    assert "type not at hand" in plain(page)[1] and "density unknown" in "".join(plain(page))
    dead = replace(BARE, moments={"log10_density": -10}, dead=True)
    assert "Fires on: dead (of tokens; log₁₀ −10.0)" in "".join(plain(page_of(dead)))


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_null_and_a_dash(missing):
    facts = replace(
        BARE,
        moments=dict.fromkeys(record.MOMENTS, missing),
        top=[("a", missing), ("b", 2.0)],
        examples=[{"tokens": ["a", "b"], "values": [missing, 1.0], "max_index": 1}],
    )
    page = page_of(facts)
    found = given_to(page)
    assert found["page"]["top_weights"] == [None, 2] and found["page"]["examples"][0][3] == [None, 100]
    text = "".join(plain(page))
    assert "a -b +2.00" in text and "nan" not in text.lower() and "inf" not in text.lower()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_is_text_in_the_record_and_below_it(hostile):
    page = page_of(hostile_facts(hostile))
    assert skeleton(page) == skeleton(page_of(hostile_facts("harmless")))
    shown = dashboard_text.plain(hostile)
    assert page.findtext(".//title") == page.findtext(".//h1/bdi") == shown
    found = given_to(page)
    assert found["title"] == shown and found["page"]["notes"] == [shown]
    token = legible(hostile, limit=dashboard_text.TOKEN_LIMIT)
    assert found["tokens"]["shown"] == [token] and f"{token} +1.00" in "".join(plain(page))


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_any_text_can_be_stored_and_leaves_the_page_as_it_is(text):
    page = page_of(hostile_facts(text))
    assert skeleton(page) == skeleton(page_of(hostile_facts("harmless")))
    shown = page.text_content()
    assert not any("\ud800" <= char <= "\udfff" or char in "\0\u202e\x1b\x7f" for char in shown)


def skeleton(page):
    """Elements with the names of their attributes."""
    return [(element.tag, sorted(element.keys())) for element in page.iter()]


def test_the_page_asks_for_nothing_and_runs_one_script():
    """No address in any attribute, and a policy that forbids what might slip through."""
    facts = hostile_facts("http://elsewhere.test/a</script><script>alert(1)</script><!--")
    page = page_of(facts)
    assert page.xpath("//img|//iframe|//object|//embed|//base|//form") == []
    assert [link.get("href") for link in page.xpath("//*[@href or @src]")] == ["data:,"]
    assert "@import" not in (style := page.find(".//style").text) and "url(" not in style
    data, script = page.findall(".//script")
    assert data.get("type") == "application/json" and "<" not in data.text
    assert dict(script.attrib) == {} and script.text == renderer.SCRIPT
    allowed = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content") == [
        f"default-src 'none'; script-src 'sha256-{allowed}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    ]
    head = [element.tag for element in page.find(".//head")]
    assert head[:2] == ["meta", "meta"] and page.find(".//head/meta").get("charset") == "utf-8"


def test_the_script_can_lie_in_a_page_and_parses_no_html():
    assert "</script" not in renderer.SCRIPT.lower() and "<!--" not in renderer.SCRIPT
    assert "{{ " not in renderer.SCRIPT + renderer.STYLE
    parsing = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\("
    scripts = [*renderer.ASSETS.glob("*.js"), *(renderer.ASSETS.parents[1] / "browser/assets").glob("*.js")]
    assert len(scripts) == 8
    assert [path.name for path in scripts if re.search(parsing, path.read_text())] == []


def test_the_bins_of_a_page_are_the_table_s():
    assert record.HALF_WIDTH == HISTOGRAM_HALF_WIDTH


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


def test_a_record_s_numbers_print_as_the_table_s_do():
    rng = np.random.default_rng(0)
    values = rng.normal(size=20000) * 10.0 ** rng.integers(-8, 8, 20000)
    values = np.r_[values, 0.1234999996, 1.2345, 999.4999999, 9.995e-4, 0.0, 1e6, 123456.5]
    printed = dashboard_text.number
    for value, short in zip(values, record.numbers(values), strict=True):
        assert printed(short) == printed(value) and printed(short, 2) == printed(value, 2)
    rows = (rng.normal(size=(2000, 20)) * 10.0 ** rng.integers(-2, 3, (2000, 1))).tolist()
    for row in rows:
        assert dashboard_text.column(record.numbers(row, 5)) == dashboard_text.column(row)
    for value in (12345.6, 99995.5, 0.0104996, 0.104995, 123456.7):
        assert printed(record.short(value, 4)) == printed(value)
    assert record.numbers([np.nan, np.inf, None]) == [None, None, None]


def test_long_tokens_are_cut_and_kept_whole_beside():
    tokens = given_to(page_of(replace(BARE, top=[("-" * 128, 1.0)])))["tokens"]
    assert len(tokens["shown"][0]) == dashboard_text.TOKEN_LIMIT and tokens["whole"] == {"0": "-" * 128}


@pytest.mark.parametrize(
    ("hide", "hidden"),
    [
        (["explanation"], ["explanations"]),
        (["plots"], ["histogram", "moments", "top", "bottom"]),
        (["activations", "steer"], ["examples"]),
    ],
)
def test_what_is_hidden_is_left_out(hide, hidden):
    page = page_of(facts_of(), hide)
    assert given_to(page)["hidden"] == hidden
    text = "".join(plain(page))
    assert ("closing brackets" in text) == ("explanations" not in hidden)
    assert ("Kurtosis" in text) == ("moments" not in hidden) == ("+1.50" in text)


def test_what_does_not_fit_is_refused():
    with pytest.raises(FsrlError, match="unknown type '<b>'; known: partition"):
        dashboard.feature_page(replace(BARE, type_name="<b>"))
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
