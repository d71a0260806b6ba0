"""Which library files a script depends on, read from its imports."""

import ast
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT
from workflow import imports

SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
PACKAGE = ROOT / "src/fsrl"


def test_closure_follows_imports_and_named_data_files(tmp_path: Path) -> None:
    package = tmp_path / "fsrl"
    package.mkdir()
    files = {
        "__init__.py": "",
        "a.py": "from fsrl import b\n",
        "b.py": "def late():\n    from fsrl.c import name\n",
        "c.py": "import fsrl.a\nSTYLE = 'd.style'\n",
        "d.style": "",
        "e.style": "",
        "unused.py": "",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    script = tmp_path / "script.py"
    script.write_text("import json\nfrom fsrl import a\n")
    found = imports.closure(script, package)
    assert [path.name for path in found] == ["__init__.py", "a.py", "b.py", "c.py", "d.style"]


def modules(script: str) -> set[str]:
    return {path.stem for path in imports.closure(ROOT / "workflow/scripts" / script, PACKAGE)}


@pytest.mark.parametrize("script", ["moments.py", "null_moments.py", "types.py"])
def test_no_table_depends_on_a_plot(script: str) -> None:
    assert not [name for name in modules(script) if name.startswith(("plot", "figure"))]


@pytest.mark.parametrize(
    "script",
    [path.name for path in SCRIPTS if not path.name.startswith(("export", "train", "activation", "effects"))],
)
def test_the_analysis_stages_import_no_model_library(script: str) -> None:
    heavy = {"transformer_lens", "sae_lens", "transformers"}
    for path in imports.closure(ROOT / "workflow/scripts" / script, PACKAGE):
        if path.suffix == ".py":
            nodes = list(ast.walk(ast.parse(path.read_text())))
            named = {
                alias.name.split(".")[0]
                for node in nodes
                if isinstance(node, ast.Import)
                for alias in node.names
            }
            named |= {str(node.module).split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
            assert not heavy & named, path


@pytest.mark.parametrize("script", ["latex_tables.py", "paper_numbers.py", "paper_index.py"])
def test_a_change_of_the_figures_style_makes_no_table_and_no_number_anew(script: str) -> None:
    files = {path.name for path in imports.closure(ROOT / "workflow/scripts" / script, PACKAGE)}
    assert not [name for name in files if name.startswith(("plot", "figure", "paper"))]


@pytest.mark.parametrize("script", ["types.py", "paper_index.py"])
def test_no_torch_is_loaded_where_nothing_is_computed(script: str) -> None:
    for path in imports.closure(ROOT / "workflow/scripts" / script, PACKAGE):
        assert path.suffix != ".py" or "import torch" not in path.read_text(), path
