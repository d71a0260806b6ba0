"""The files of the library that a script depends on, read from its import statements.

Snakemake doesn't watch what a script imports. A rule therefore takes these files as inputs: an edit to one
library module then reruns the jobs that depend on it, and no others.
"""

import ast
from functools import cache
from pathlib import Path


def closure(script: Path, package: Path) -> list[Path]:
    """The modules of `package` that `script` imports, directly or not, and the data files they name.

    The package is flat and imported absolutely (ruff refuses relative imports). A data file of the package
    counts as used by a module that holds its name as a string.
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
    tree = ast.parse(source.read_text(encoding="utf-8"), filename=str(source))
    modules, strings = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from fsrl import tables` names a module, `from fsrl.tables import read` an attribute.
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
    ours = [module.split(".") for module in modules if module.split(".")[0] == package.name]
    candidates = {package / f"{parts[1]}.py" for parts in ours if len(parts) > 1}
    candidates |= {package / "__init__.py"} if ours else set()
    if source.parent == package:
        candidates |= {path for path in package.iterdir() if path.suffix != ".py" and path.name in strings}
    return frozenset(path for path in candidates if path.is_file())
