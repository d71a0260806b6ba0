"""What MkDocs adds to docs/*.md: texts that lie elsewhere in the repository, a reference from the docstrings.

Pages are written for a reader of the repository, so their links are relative to the file that holds them,
and may lead anywhere in it. In the site a link to a text that is a page leads to that page, one to a module
of the library to its place in the reference, and any other file that is linked or shown lies under files/.
A link to a folder stops the build.
"""

import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import graph
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
# Texts of the repository -> their page.
TEXTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "development/index.md",
    "src/fsrl/README.md": "development/rooms.md",
    "CHANGELOG.md": "development/changelog.md",
    "config/README.md": "reference/configuration.md",
    "benchmarks/README.md": "reference/benchmarks.md",
    "data/mini/README.md": "explanation/mini.md",
}
TABLES = "reference/tables.md"
LIBRARY = "reference/library"
TARGET = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
MODULE = re.compile(r"src/fsrl/(?:(\w+)/)?\w+\.py")
FENCE = re.compile(r"^```.*?^```|`[^`\n]+`", re.M | re.S)

logger = logging.getLogger("mkdocs.hooks.fsrl")


def rooms() -> dict[str, list[str]]:
    """Room -> its modules, in the order of the map; "" is the top."""
    text = (ROOT / "src/fsrl/README.md").read_text(encoding="utf-8")
    found = {}
    for room in ["", *re.findall(r"^\| `(\w+)` \|", text, re.M)]:
        modules = sorted((ROOT / "src/fsrl" / room).glob("*.py"))
        found[room] = [path.stem for path in modules if not path.stem.startswith("_")]
    return found


def room_page(room: str, modules: list[str]) -> str:
    """A room's page: what its docstring says, then every module."""
    name = f"fsrl.{room}" if room else "fsrl"
    parts = [f"# {name}", f"::: {name}\n    options: {{members: false, show_root_heading: false}}"]
    return "\n\n".join([*parts, *(f"::: {name}.{module}" for module in modules)]) + "\n"


def listed_tables() -> str:
    """Every parquet table that the workflow writes, column by column, as `fsrl.tables` defines them."""
    from importlib import import_module

    from fsrl.dataset.card import plain
    from fsrl.tables.core import Table

    parts = []
    for path in sorted((ROOT / "src/fsrl/tables").glob("*.py")):
        module = import_module(f"fsrl.tables.{path.stem}")
        own = [table for table in vars(module).values() if isinstance(table, Table)]
        if path.stem in ("__init__", "core") or not own:
            continue
        parts.append(f"## {path.stem}\n\n{(module.__doc__ or '').strip()}")
        for table in {table.name: table for table in own}.values():
            rows = [
                f"| `{name}` | {column.dtype} | {plain(column.unit)} | {plain(column.description)} |"
                for name, column in table.columns.items()
            ]
            head = ["| column | type | unit | what |", "|---|---|---|---|"]
            parts.append("\n".join([f"### {path.stem}: {table.name}", "", *head, *rows]))
    return "\n\n".join(parts) + "\n"


def on_config(config: Any) -> Any:
    """The rooms' pages stand in the navigation below the library's; graphs of rules are drawn here."""

    def drawn(source: str, *_: Any, **__: Any) -> str:
        return graph.svg(source)

    fence = {"name": "mermaid", "class": "rules", "format": drawn}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    pages = [{room or "fsrl": f"{LIBRARY}/{room or 'top'}.md"} for room in rooms()]
    (reference,) = (part["Reference"] for part in config.nav if "Reference" in part)
    (library,) = (part["Library"] for part in reference if isinstance(part, dict) and "Library" in part)
    library += pages
    return config


def on_files(files: Any, config: Any) -> Any:
    """The repository's texts, the reference, and every file that a page links or shows."""
    for text, page in TEXTS.items():
        if text != "README.md":
            files.append(File.generated(config, page, abs_src_path=str(ROOT / text)))
    for room, modules in rooms().items():
        files.append(
            File.generated(config, f"{LIBRARY}/{room or 'top'}.md", content=room_page(room, modules))
        )
    for target in sorted({path for page in files.documentation_pages() for path in linked(page)}):
        files.append(File.generated(config, f"files/{target}", abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as the site needs them; the page of tables gets the tables."""
    text = rewritten(markdown, page.file, lambda target: f"files/{target}")
    return f"{text}\n\n{listed_tables()}" if page.file.src_uri == TABLES else text


def named(path: str) -> str:
    """A module's name in Python, which is its anchor; none for a room itself, whose page it is."""
    return (
        ""
        if path.endswith("__init__.py")
        else path.removeprefix("src/").removesuffix(".py").replace("/", ".")
    )


def linked(page: Any) -> set[str]:
    """Files of the repository that a page links or shows and that are no pages, by their place in it."""
    found: set[str] = set()

    def keep(target: str) -> str:
        found.add(target)
        return target

    rewritten(page.content_string, page, keep)
    return found


def rewritten(markdown: str, file: Any, place: Any) -> str:
    """The text with its links led from where the text lies to where the site has the page or the file."""
    source = {page: text for text, page in TEXTS.items() if text != "README.md"}.get(file.src_uri)
    folder = (ROOT / (source or f"docs/{file.src_uri}")).parent

    def link(match: re.Match[str]) -> str:
        path, _, anchor = match[1].partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return match[1]
        found = Path(os.path.normpath(folder / path))
        if not found.is_relative_to(ROOT):
            return match[1]
        there = str(found.relative_to(ROOT))
        if there in TEXTS:
            there = TEXTS[there]
        elif there.startswith("docs/"):
            there = there.removeprefix("docs/")
        elif (module := MODULE.fullmatch(there)) and found.is_file():
            there, anchor = f"{LIBRARY}/{module[1] or 'top'}.md", anchor or named(there)
        elif found.is_file():
            there = place(there)
        else:
            logger.warning("%s: no page and no file: %s", file.src_uri, match[1])
        relative = os.path.relpath(there, os.path.dirname(file.src_uri) or ".")
        return f"{relative}#{anchor}" if anchor else relative

    kept, end = [], 0
    for code in [*FENCE.finditer(markdown), None]:
        start = code.start() if code else len(markdown)
        kept.append(TARGET.sub(link, markdown[end:start]))
        kept.append(code[0] if code else "")
        end = code.end() if code else end
    return "".join(kept)
