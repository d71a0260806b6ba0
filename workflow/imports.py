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
from dataclasses import dataclass
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
    facts = _facts(source)
    found: set[Path] = set()
    for module, name, line in facts.imports:
        if module.split(".")[0] == package.name:
            found |= _files_of(module, name, package, f"{source}, line {line}")
    if package in source.parents:
        for name in facts.strings & _beside(source.parent):
            found |= _data(source.parent / name)
    return frozenset(path for path in found if path.name != VERSION)


@dataclass(frozen=True)
class _Facts:
    """What is read of a file. Its tree is not kept: those of the library cost more to keep than to make."""

    imports: list[tuple[str, str | None, int]]  # module, name, line
    strings: frozenset[str]
    defined: frozenset[str]
    public: dict[str, dict[str, tuple[str, ...]]]


@cache
def _facts(source: Path) -> _Facts:
    tree = ast.parse(source.read_text(encoding="utf-8"), filename=str(source))
    imported: list[tuple[str, str | None, int]] = []
    strings: set[str] = set()
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            imported += [(alias.name, None, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported += [(node.module, alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
    return _Facts(imported, frozenset(strings), _defined(tree), _public_table(tree))


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


def _files_of(module: str, name: str | None, package: Path, place: str) -> set[Path]:
    """What `import module`, or `from module import name`, depends on in the package whose module it is."""
    parts = module.split(".")[1:]
    at = package.joinpath(*parts)
    if at.with_suffix(".py").is_file() and parts:
        path = at.with_suffix(".py")
        if name is not None and name not in _facts(path).defined:
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
    table = _facts(face).public
    whole = name is None or room.endswith(f".{name}")
    modules = [module for module, names in table.get(room, {}).items() if whole or name in names]
    if room == package.name and whole:
        return {face}
    paths = {package.joinpath(*module.split(".")[1:]).with_suffix(".py") for module in modules}
    return paths | {face} if paths else set()


def _public_table(tree: ast.Module) -> dict[str, dict[str, tuple[str, ...]]]:
    """`PUBLIC` of a package's face; nothing of other modules."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "PUBLIC" and node.value:
            return ast.literal_eval(node.value)
    return {}


def _defined(tree: ast.Module) -> frozenset[str]:
    """The names that a module defines or imports at its top level."""
    names: set[str] = set()
    queue: list[ast.AST] = [tree]
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


@cache
def _beside(folder: Path) -> frozenset[str]:
    """The names of what a folder holds."""
    return frozenset(path.name for path in folder.iterdir())


def _data(path: Path) -> set[Path]:
    """The file, or the files of the folder; none for a module or a room."""
    if path.is_file() and path.suffix != ".py":
        return {path}
    if path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").is_file():
        return {file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    return set()
