"""The page of a notebook: it stands alone, sets its formulas, and shows text as text."""

import re
from xml.etree import ElementTree

import lxml.html
import pytest

from fsrl.errors import FsrlError
from fsrl.notebooks import page as notebook_page
from fsrl.pages import renderer
from tests.notebooks.sources import notebook_of

MATHML = "{http://www.w3.org/1998/Math/MathML}"


def test_the_page_stands_alone() -> None:
    page = notebook_page.html(notebook_of({"image/png": "iVBORw0KGgo="}), note="made <here>")
    document = lxml.html.document_fromstring(page)
    assert document.findtext(".//title") == "Tokens & <b>"
    assert document.findtext(".//footer") == "made <here>"
    assert document.findall(".//script") == document.findall(".//link") == []
    assert [image.get("src")[:22] for image in document.findall(".//img")] == ["data:image/png;base64,"]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/1998/Math)", page)
    policy = document.find(".//meta[@http-equiv='Content-Security-Policy']").get("content")
    # A feature's page in a frame has to obey it too: its one script may run.
    assert policy.startswith(f"default-src 'none'; script-src {renderer.POLICY_SOURCE};")
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")


def test_code_and_plain_outputs_are_text() -> None:
    page = notebook_page.html(notebook_of({"text/plain": "<script>alert(1)</script>"}), note="")
    document = lxml.html.document_fromstring(page)
    assert document.findall(".//script") == []
    assert "<script>alert(1)</script>" in document.text_content()
    assert "x = '<i>'" in document.text_content()


def test_formulas_become_mathml_and_prices_stay_text() -> None:
    text = "# T\n\nA \\$5 token, $\\mu_i$ and\n\n$$\\frac{1}{V}$$\n\n`$not$`"
    document = lxml.html.document_fromstring(notebook_page.html(notebook_of(text=text), note=""))
    assert [formula.get("display") for formula in document.findall(".//math")] == ["inline", "block"]
    assert document.findtext(".//code") == "$not$"
    assert "A $5 token" in document.text_content()


def test_headings_have_names_and_notebooks_link_to_pages() -> None:
    text = "# T\n\n[a](#What-is-`x`,-if-any) [b](other_one.ipynb#There) [c](https://a.org/b.ipynb)\n\n"
    page = notebook_page.html(notebook_of(text=text + "## What is `x`, if any\n"), note="")
    document = lxml.html.document_fromstring(page)
    assert [heading.get("id") for heading in document.findall(".//h2")] == ["What-is-x,-if-any"]
    targets = [link.get("href") for link in document.findall(".//a")]
    assert targets[1:] == ["other_one.html#There", "https://a.org/b.ipynb"]


def test_a_formula_is_set_as_written() -> None:
    root = ElementTree.fromstring(notebook_page.mathml(r"\frac{a}{b}^2", display=True))
    assert root.get("display") == "block"
    fraction = root.find(f".//{MATHML}mfrac")
    assert fraction is not None and "".join(fraction.itertext()) == "ab"


@pytest.mark.parametrize(
    "formula", [r"\nosuchcommand{x}", r"\begin{aligned} a &= b \end{aligned}", r"\frac{a"]
)
def test_a_formula_that_cannot_be_set_is_refused_by_name(formula: str) -> None:
    with pytest.raises(FsrlError) as raised:
        notebook_page.mathml(formula, display=False)
    assert repr(formula) in str(raised.value)


def test_what_needs_a_script_or_a_title_is_refused() -> None:
    with pytest.raises(FsrlError, match="cell-1 shows application/javascript, which needs scripts"):
        notebook_page.html(notebook_of({"application/javascript": "alert(1)"}), note="")
    with pytest.raises(FsrlError, match="no heading"):
        notebook_page.html(notebook_of(text="no heading"), note="")
