"""The house: rooms that hold a docstring and modules, arrows that run one way, a map that is true."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/fsrl"
MAP = (PACKAGE / "README.md").read_text()
# From the room that uses no other to those that may use all before them.
ORDER = re.findall(r"^\| `(\w+)` \|", MAP, re.M)
FACES = ("utils.py", "hub.py", "sources.py", "__init__.py")  # public names of any room


def room_of(path: Path) -> str:
    """The room that a module lies in; "" for the package's top."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> set[str]:
    """The modules of the package that a module names in import statements, wherever they stand."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("fsrl")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fsrl":
            for alias in node.names:
                inner = PACKAGE.joinpath(*node.module.split(".")[1:], f"{alias.name}.py")
                found.add(f"{node.module}.{alias.name}" if inner.is_file() else node.module)
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def test_the_map_has_every_room_and_its_modules() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(ORDER) == rooms and len(ORDER) == len(rooms)
    for room, begin in re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", MAP, re.M):
        for module in re.findall(r"`(\w+)`", begin):
            assert (PACKAGE / room / f"{module}.py").is_file(), f"{room}: {module}"


@pytest.mark.parametrize("room", ORDER)
def test_a_room_s_init_holds_a_docstring_and_nothing_else(room: str) -> None:
    body = ast.parse((PACKAGE / room / "__init__.py").read_text()).body
    assert len(body) == 1 and isinstance(body[0], ast.Expr)
    assert len(str(ast.literal_eval(body[0].value)).split()) > 10


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_runs_up(path: Path) -> None:
    """A room uses those before it in the map; the top uses none of them; nobody uses mini."""
    if path.parent == PACKAGE and path.name in FACES:
        return
    here = room_of(path)
    allowed = ["", *ORDER[: ORDER.index(here) + 1]] if here else [""]
    for module in imported(path):
        there = module.split(".")[1] if module.count(".") and module.split(".")[1] in ORDER else ""
        assert there in allowed, f"{path.relative_to(PACKAGE)} imports {module}"
        assert there != "mini" or here == "mini"
        # A room itself has no names: what is used is named by the module that defines it.
        assert not (module.count(".") == 1 and there), f"{path.relative_to(PACKAGE)} imports the room {there}"


def test_no_import_goes_in_a_circle() -> None:
    graph = {
        ".".join(("fsrl", *path.relative_to(PACKAGE).with_suffix("").parts)): imported(path)
        for path in MODULES
    }
    while free := [module for module, uses in graph.items() if not (uses & graph.keys()) - {module}]:
        for module in free:
            assert module not in graph[module], f"{module} imports itself"
            del graph[module]
    assert graph == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_are_imported_from_where_they_are_defined(path: Path) -> None:
    """`from fsrl.room.module import name` names a definition, or the face would be a corridor again."""
    if path.name in FACES and path.parent == PACKAGE:
        return
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fsrl."):
            source = PACKAGE.joinpath(*node.module.split(".")[1:]).with_suffix(".py")
            if source.is_file():
                for alias in node.names:
                    assert alias.name in definitions(source), f"{node.module} does not define {alias.name}"
    modules = local_names(path)
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            source = modules[node.value.id]
            assert node.attr in definitions(source), f"{node.value.id} does not define {node.attr}"


def local_names(path: Path) -> dict[str, Path]:
    """Local name of each module of a room that a module imports."""
    found = {}
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fsrl."):
            for alias in node.names:
                inner = PACKAGE.joinpath(*node.module.split(".")[1:], f"{alias.name}.py")
                if inner.is_file():
                    found[alias.asname or alias.name] = inner
    return found


@cache
def definitions(path: Path) -> set[str]:
    """What a module's top level defines, not what it imports."""
    found: set[str] = set()
    for node in parsed(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {
                name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
            }
    return found
