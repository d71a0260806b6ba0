"""The config's files as they were written, which Snakemake's own reader does not tell.

It takes the last of two keys of one name without a word. Here each fault is one FsrlError that names the file
and the line.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from fsrl import files
from fsrl.errors import FsrlError


def check(paths: Iterable[Path], arguments: Sequence[str]) -> None:
    """Raise FsrlError for a file that holds no settings, and for a key that is written twice: in one file, or
    in `arguments` (each NAME=VALUE, as after --config).
    """
    for path in paths:
        _check_file(path)
    given = set()
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in given:
            raise FsrlError(f"config: --config: {name!r} is given twice; leave one of them out")
        given.add(name)
        try:
            _refuse_repeated(yaml.compose(value), f"--config {name}")
        except yaml.YAMLError:  # Snakemake takes it for text
            continue


def _check_file(path: Path) -> None:
    try:
        text = files.read_text(path)
    except FsrlError as error:
        raise FsrlError(f"config: {error}") from None
    try:
        mapping = isinstance(json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path)), dict)
    except json.JSONDecodeError:
        root = _composed(text, path)
        mapping = isinstance(root, yaml.MappingNode)
        _refuse_repeated(root, str(path))
    if not mapping:
        raise FsrlError(f"config: {path}: holds no settings; write them as `key: value`")


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    if (twice := files.written_twice(pairs)) is not None:
        raise FsrlError(f"config: {path}: {twice!r} is written twice; leave one of them out")
    return dict(pairs)


def _composed(text: str, path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise FsrlError(
            f"config: {path}{line}: not YAML ({' '.join(problem.split())}); indent with spaces, put "
            "text with odd characters in quotes"
        ) from None


def _refuse_repeated(node: yaml.Node | None, place: str, above: tuple[yaml.Node, ...] = ()) -> None:
    """Raise FsrlError for two equal keys of one mapping, and for a value that holds itself."""
    if node in above:
        raise FsrlError(f"config: {place}, line {_line(node)}: an alias refers to what it stands in; drop it")
    above = (*above, node) if node else above
    if isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated(value, place, above)
    if isinstance(node, yaml.MappingNode):
        first: dict[tuple[str, Any], int] = {}
        for key, value in node.value:
            name = key.tag, str(key.value)
            if name in first and key.tag != "tag:yaml.org,2002:merge":
                raise FsrlError(
                    f"config: {place}, line {_line(key)}: {key.value!r} is written twice (first in line "
                    f"{first[name]}); leave one of them out"
                )
            first.setdefault(name, _line(key))
            _refuse_repeated(value, place, above)


def _line(node: yaml.Node | None) -> int:
    return node.start_mark.line + 1 if node and node.start_mark else 0
