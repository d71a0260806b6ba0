"""The notebooks as they are kept: text that reads well in Jupyter, on the page and in a diff."""

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from fsrl.notebooks import page as notebook_page
from fsrl.notebooks import run as notebook_run
from tests.notebooks.sources import NOTEBOOKS, ROOT

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)


def test_there_are_six_and_the_workflow_runs_each() -> None:
    rules = (ROOT / "workflow/rules/notebooks.smk").read_text()
    table = rules.split("NOTEBOOK_READS = {")[1].split("\n}")[0]
    assert sorted(re.findall(r'^    "(\w+)":', table, re.M)) == [path.stem for path in NOTEBOOKS]
    assert len(NOTEBOOKS) == 6


@each
def test_it_defines_nothing_that_the_library_should(path: Path) -> None:
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    found = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, defined)]
    assert found == []


@each
def test_it_is_in_percent_format_and_survives_the_round_trip_through_ipynb(path: Path) -> None:
    text = path.read_text()
    notebook = jupytext.reads(text, fmt="py:percent")
    stored = nbformat.reads(jupytext.writes(notebook, fmt="ipynb"), as_version=4)
    stored.metadata["jupytext"] = {"notebook_metadata_filter": "-all", "cell_metadata_filter": "tags,-all"}
    assert jupytext.writes(stored, fmt="py:percent") == text
    assert [cell.cell_type for cell in notebook.cells][0] == "markdown"
    assert notebook.cells[0].source.startswith("# ")


@each
def test_it_starts_at_the_repository_s_root_and_draws_without_pyplot(path: Path) -> None:
    text = path.read_text()
    assert "notebook_setup.start()" in text.split("# %%")[2]
    assert "pyplot" not in text
    assert not re.search(r"^# [%!]\w", text, re.M), "a magic or a shell command"


@each
def test_its_contents_list_its_sections_and_its_links_all_the_others(path: Path) -> None:
    cells = [cell.source for cell in notebook_run.read(path).cells if cell.cell_type == "markdown"]
    contents, others = (part for part in cells[0].split("\n\n") if part.startswith("**"))
    sections = [name for cell in cells for name in re.findall(r"^## (.+)$", cell, re.M)]
    links = re.findall(r"\[([^\]]+)\]\(#([^)]+)\)", contents)
    assert [name for name, _ in links] == sections and sections[-1] == "Takeaway"
    assert [place for _, place in links] == [name.replace(" ", "-") for name in sections]
    linked = re.findall(r"\(([\w-]+)\.ipynb\)", others)
    assert sorted([*linked, path.stem]) == [other.stem for other in NOTEBOOKS]


@each
def test_its_formulas_can_be_set_without_mathjax(path: Path) -> None:
    cells = notebook_run.read(path).cells
    prose = [
        re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.S)
        for cell in cells
        if cell.cell_type == "markdown"
    ]
    formulas = [block or inline for text in prose for block, inline in FORMULA.findall(text)]
    for formula in formulas:
        assert notebook_page.mathml(formula, display=False).startswith("<math")
    assert len(formulas) == sum(len(re.findall(r"\$\$|\$", text)) for text in prose) // 2


@each
def test_its_text_holds_no_number_that_the_tables_should_give(path: Path) -> None:
    """A count, share or statistic of a result in the prose would go stale; numbers are computed."""
    for cell in notebook_run.read(path).cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$.*?\$", "", cell.source, flags=re.S)
            found = re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?:,\d{3})*(?: %)?", prose)
            known = {
                "2024",
                "2025",
                "2",
                "3",
                "1",
                "0",
                "0.5",
                "5",
                "6",
                "99.9 %",
                "99.8 %",
                "95 %",
                "0.001",
                "0.999",
            }
            assert set(found) <= known, found
