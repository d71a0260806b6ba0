"""A notebook's page in a browser: what a person sees, and that it asks for nothing."""

from pathlib import Path
from typing import Any

from fsrl.notebooks import page as notebook_page
from fsrl.notebooks import run as notebook_run
from tests.notebooks.sources import SAMPLE, written


def test_the_page_shows_text_tables_formulas_and_figures_and_asks_for_nothing(
    browser: Any, tmp_path: Path
) -> None:
    text = (
        SAMPLE
        + "\n# %%\nfrom IPython.display import HTML\nHTML('<img src=\"http://elsewhere.test/x.png\">')\n"
    )
    notebook = notebook_run.execute(written(tmp_path / "work", text), folder=tmp_path)
    page = notebook_page.html(notebook, note="made here")
    seen = browser.seen(page)
    assert seen["title"] == "A sample <b>"
    for shown in ("said None", "<script>alert(1)</script>", "$a$", "0.1235", "made here"):
        assert shown in seen["text"], shown
    # Set by the browser itself: the fraction's parts are there, the commands are not.
    assert "\\frac" not in seen["text"] and "\N{MATHEMATICAL ITALIC SMALL SIGMA}" in seen["text"]
    assert seen["ran"] == "false"
    assert int(seen["overflow"]) <= 0
    # Even an image that a cell asked for by address is not fetched: the page's policy forbids it.
    assert browser.asked == []
