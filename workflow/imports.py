"""The files of the library that a script depends on, read from its import statements.

Snakemake doesn't watch what a script imports. A rule therefore takes these files as inputs: an edit to one
library module then reruns the jobs that depend on it, and no others. What counts:

- a module, under whichever dotted name it is imported, in the package's rooms (folders) and at its top;
- for a public name (`from fsrl import SAEAdapter`, `from fsrl.moments import logit_moments`), the module that
  `PUBLIC` of the package's `__init__.py` says it is defined in, and that table;
- a file, or the files of a folder, beside a module that holds its name as a string (templates, word lists).

What does not: imports under `if TYPE_CHECKING:`; a room's own `__init__.py`, which holds a docstring alone;
and the version, which no output prints. A name of the package that resolves to nothing is an error: it would
be a dependency that nobody watches.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fsrl.errors import FsrlError

# A new version number reruns nothing: a rule whose output prints it has to name this file as an input itself.
VERSION = "_version.py"


def closure(script: Path, package: Path) -> list[Path]:
    """The modules of `package` that `script` imports, directly or not, and the data files they name.

    Raises FsrlError for an import of the package that names nothing, with its place.
    """
    found: set[Path] = set()
    queue = [script]
    while queue:
        for path in _depends_on(queue.pop(), package):
            if path not in found:
                found.add(path)
                queue += [path] if path.suffix == ".py" else []
    return sorted(found)


@cache
def _depends_on(source: Path, package: Path) -> frozenset[Path]:
    found: set[Path] = set()
    of_package = package in source.parents
    for node in _executed(_tree(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _files_of(alias.name, None, package, _place(source, node))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found |= _files_of(node.module, alias.name, package, _place(source, node))
        elif of_package and isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= _data(source.parent, node.value)
    return frozenset(path for path in found if path.name != VERSION)


@cache
def _tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"), filename=str(source))


def _executed(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of a module, less those that only a type checker reads."""
    queue: list[ast.AST] = [tree]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            queue += node.orelse
        else:
            yield node
            queue += ast.iter_child_nodes(node)


def _place(source: Path, node: ast.stmt) -> str:
    return f"{source}, line {node.lineno}"


def _files_of(module: str, name: str | None, package: Path, place: str) -> set[Path]:
    """What `import module`, or `from module import name`, depends on in the package."""
    top, *parts = module.split(".")
    if top != package.name:
        return set()
    at = package.joinpath(*parts)
    if at.with_suffix(".py").is_file() and parts:
        path = at.with_suffix(".py")
        if name is not None and name not in _defined(path):
            raise FsrlError(f"{place}: {module} defines no {name!r}")
        return {path}
    if not (at / "__init__.py").is_file():
        raise FsrlError(f"{place}: there is no module {module}")
    if name is None:
        return _public(module, None, package)
    if (at / f"{name}.py").is_file():
        return {at / f"{name}.py"}
    found = _public(f"{module}.{name}" if (at / name).is_dir() else module, name, package)
    if not found:
        raise FsrlError(f"{place}: {module} has no module and no public name {name!r}")
    return found


def _public(room: str, name: str | None, package: Path) -> set[Path]:
    """The modules behind a public name of a room, or behind all of the room's, and the table that says so."""
    face = package / "__init__.py"
    table: dict[str, dict[str, tuple[str, ...]]] = {}
    for node in _tree(face).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "PUBLIC" and node.value:
            table = ast.literal_eval(node.value)
    whole = name is None or room.endswith(f".{name}")
    modules = [module for module, names in table.get(room, {}).items() if whole or name in names]
    if room == package.name and whole:
        return {face}
    paths = {package.joinpath(*module.split(".")[1:]).with_suffix(".py") for module in modules}
    return paths | {face} if paths else set()


@cache
def _defined(path: Path) -> frozenset[str]:
    """The names that a module defines or imports at its top level."""
    names: set[str] = set()
    queue: list[ast.AST] = [_tree(path)]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        else:
            queue += ast.iter_child_nodes(node)
    return frozenset(names)


def _data(folder: Path, name: str) -> set[Path]:
    """The file, or the files of the folder, of this name beside a module; none for a module or a room."""
    if not name or "\n" in name or len(name) > 100 or "/" in name or name in (".", ".."):
        return set()
    path = folder / name
    if path.is_file() and path.suffix != ".py":
        return {path}
    if path.is_dir() and name != "__pycache__" and not (path / "__init__.py").is_file():
        return {file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    return set()
