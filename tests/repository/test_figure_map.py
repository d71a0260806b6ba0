"""The map from figure to rule, module and table names what there is, and all of it."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fsrl.latex import document as tex_document
from workflow import rulegraph

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/figures.md").read_text()
SECTION = PAGE.split("# From figure to table")[1].split("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]] for line in SECTION.splitlines() if line[:3] == "| `"
]
RULES = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))


def rule_of(name: str) -> str:
    """What the files say of a rule, whose name may end in that of its study."""
    found = re.search(
        rf'(^rule {name}:|^ +f"{name}_\{{study\.name\}}").*?^ +script:\n[^\n]+', RULES, re.M | re.S
    )
    assert found, f"no rule {name}"
    listed = re.search(r"^MOMENT_TABLES = (.*)$", RULES, re.M)[1]
    return found[0].replace("*MOMENT_TABLES", listed)


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def stems(row: list[str]) -> list[str]:
    """Names of figures; of a folder of one figure a layer, the folder's."""
    return [name.removesuffix("/{sae}").split("/")[-1] for name in quoted(row[0])]


def captions() -> set[str]:
    """Figures that the report has a caption for: all (tests/workflow/test_report.py)."""
    folder = ROOT / "workflow/report"
    return {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.rst")} - {"workflow"}


def test_every_figure_is_in_the_map() -> None:
    places = {"effects", "planted"}
    named = set()
    for row in ROWS:
        place = quoted(row[0])[0].split("/")[0]
        named |= {f"{place}/{stem}" if place in places else stem for stem in stems(row)}
    assert named == captions()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: quoted(row[0])[0])
def test_rules_modules_and_scripts_exist(row: list[str]) -> None:
    (rule,), (module,) = quoted(row[1]), quoted(row[2])
    assert rule_of(rule).endswith(f'"../scripts/{rule}.py"')
    assert importlib.import_module(f"fsrl.figures.{module}").__doc__
    script = (ROOT / f"workflow/scripts/{rule}.py").read_text()
    imported = re.findall(r"from fsrl\.figures import ([\w, ]+?)(?: as (\w+))?$", script, re.M)
    names = {name: alias or name for line, alias in imported for name in line.split(", ")}
    for stem in stems(row):
        # By its own name, a function of another name that the script calls for it, or one a layer.
        drawn = names[module]
        called = rf"\b{drawn}\.{stem}\(|\"{stem}\": {drawn}\.|figure = {drawn}\.|: {drawn}\.two_views\("
        assert re.search(called, script, re.M), f"{stem} is not drawn by {module}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: quoted(row[0])[0])
def test_tables_are_inputs_of_the_rule(row: list[str]) -> None:
    (rule,) = quoted(row[1])
    block = rule_of(rule).split("output:")[0]
    for table in quoted(row[3]):
        name = table.removeprefix("effects_")
        assert re.search(name, block, re.I), f"{rule} does not read {table}"


def test_the_graph_of_the_rules_is_snakemake_s_own() -> None:
    command = ["--cores", "1", "--config", "run=[mini, mini-neurons, mini-runs]", "--rulegraph", "mermaid-js"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    shown = rulegraph.BLOCK.search(PAGE)[0].splitlines()
    if tex_document.missing_programs():
        # Without LaTeX no PDF is planned, and so no arrow to it.
        shown = [line for line in shown if not line.endswith("compile_paper_pdf")]
    assert rulegraph.block(done.stdout).splitlines() == shown
