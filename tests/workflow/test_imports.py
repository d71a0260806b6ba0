"""Which library files a script depends on, read from its imports."""

import ast
from functools import cache
from pathlib import Path

import pytest

from fsrl.errors import FsrlError
from tests.fixtures.project import ROOT
from workflow import imports

SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
PACKAGE = ROOT / "src/fsrl"
# They read a model or an SAE, or train one.
MODEL_SCRIPTS = {
    "export_model.py",
    "export_weights.py",
    "fit_transport.py",
    "measure_activation_covariances.py",
    "find_contexts.py",
    "measure_effects.py",
    "measure_steering.py",
    *(path.name for path in SCRIPTS if "mini" in path.name),
}


FILES = {
    "__init__.py": 'PUBLIC: D = {"fsrl": {"fsrl.top": ("Face",)}, "fsrl.room": {"fsrl.room.a": ("work",)}}\n',
    "_version.py": "__version__ = '1'\n",
    "top.py": "from fsrl._version import __version__\nclass Face: ...\n",
    "room/__init__.py": '"""A docstring."""\n',
    "room/a.py": "from fsrl.room import b\ndef work(): ...\n",
    "room/b.py": "def late():\n    from fsrl.other.c import name\n",
    "room/unused.py": "",
    "other/__init__.py": '"""A docstring."""\n',
    "other/c.py": "import fsrl.room.a\nname = Path('d.style'), 'lists', 'room'\n",
    "other/d.style": "",
    "other/e.style": "",
    "other/lists/one.txt": "",
    "other/lists/__pycache__/one.pyc": "",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "fsrl" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "fsrl"


def found(package: Path, text: str) -> list[str]:
    script = package.parent / "script.py"
    script.write_text(text)
    for cached in (imports._depends_on, imports._facts, imports._beside):
        cached.cache_clear()
    return [str(path.relative_to(package)) for path in imports.closure(script, package)]


ALL = ["other/c.py", "other/d.style", "other/lists/one.txt", "room/a.py", "room/b.py"]


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("import json\nfrom fsrl.room import a\n", ALL),
        ("def late():\n    from fsrl.room.a import work as other\n", ALL),
        ("import fsrl.other.c\n", ALL),
        ("from fsrl.top import Face\n", ["top.py"]),
        # Public names lead to where they are defined; so does the room that answers for them.
        ("from fsrl import Face\n", ["__init__.py", "top.py"]),
        ("from fsrl.room import work\n", sorted(["__init__.py", *ALL])),
        ("from fsrl import room\n", sorted(["__init__.py", *ALL])),
        ("import fsrl\n", ["__init__.py"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fsrl.room import a\n", []),
        ("if typing.TYPE_CHECKING:\n    pass\nelse:\n    from fsrl.top import Face\n", ["top.py"]),
        ("import fsrlike\nfrom fsrlike.room import nothing\n", []),
    ],
)
def test_the_closure_follows_dotted_names_through_rooms(package: Path, text: str, files: list[str]) -> None:
    assert found(package, text) == files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import json\nfrom fsrl.room import gone\n", r"script.py, line 2: fsrl.room has no .* 'gone'"),
        ("from fsrl.gone import a\n", "line 1: there is no module fsrl.gone"),
        ("import fsrl.room.gone\n", "there is no module fsrl.room.gone"),
        ("from fsrl.room.a import gone\n", "fsrl.room.a defines no 'gone'"),
        ("from fsrl import gone\n", "fsrl has no module and no public name 'gone'"),
        # A room without public names has nothing that could be meant.
        ("from fsrl import other\n", "fsrl has no module and no public name 'other'"),
    ],
)
def test_a_name_that_resolves_to_nothing_is_an_error(package: Path, text: str, message: str) -> None:
    with pytest.raises(FsrlError, match=message):
        found(package, text)


def test_every_import_of_the_library_the_scripts_and_the_notebooks_resolves() -> None:
    for path in [*PACKAGE.rglob("*.py"), *SCRIPTS, *(ROOT / "notebooks").glob("*.py")]:
        imports.closure(path, PACKAGE)


def rooms(script: str) -> set[str]:
    """The rooms that a script depends on."""
    paths = imports.closure(ROOT / "workflow/scripts" / script, PACKAGE)
    return {path.relative_to(PACKAGE).parts[0] for path in paths if path.parent != PACKAGE}


@pytest.mark.parametrize(
    "script",
    [
        "compute_moments.py",
        "compute_null_moments.py",
        "assign_types.py",
        "effect_summary.py",
        "null_p_values.py",
        "summarise_enrichment.py",
    ],
)
def test_no_table_depends_on_a_figure(script: str) -> None:
    assert not {"figures", "pages", "latex"} & rooms(script)


@cache
def named_in(path: Path) -> set[str]:
    """The packages that a module imports, wherever that stands in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in named}


@pytest.mark.parametrize(
    "script",
    [path.name for path in SCRIPTS if path.name not in MODEL_SCRIPTS],
)
def test_the_analysis_stages_import_no_model_library(script: str) -> None:
    heavy = {"transformer_lens", "sae_lens", "transformers"}
    for path in imports.closure(ROOT / "workflow/scripts" / script, PACKAGE):
        assert path.suffix != ".py" or not heavy & named_in(path), path


@pytest.mark.parametrize("script", ["write_latex_study.py", "write_paper_numbers.py", "write_paper_index.py"])
def test_a_change_of_the_figures_style_makes_no_table_and_no_number_anew(script: str) -> None:
    assert "figures" not in rooms(script)


@pytest.mark.parametrize(
    "script",
    [
        "assign_types.py",
        "write_latex_coverage.py",
        "write_paper_index.py",
        "write_paper_numbers.py",
    ],
)
def test_no_torch_is_loaded_where_nothing_is_computed(script: str) -> None:
    for path in imports.closure(ROOT / "workflow/scripts" / script, PACKAGE):
        assert path.suffix != ".py" or "import torch" not in path.read_text(), path
