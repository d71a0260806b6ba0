"""README and docs/: short, linked to what there is, and in one voice with each other."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
LISTED = subprocess.check_output(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, text=True
).split()
README = (ROOT / "README.md").read_text()
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)
TARGET = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.M)


def prose(text: str) -> str:
    """Without blocks and spans of code, in which brackets are no links."""
    return CODE.sub("", text)


def anchors(text: str) -> set[str]:
    """What the headings are called in links, as forges and MkDocs spell it."""
    blocks = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    bare = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in HEADING.findall(blocks)]
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in bare}


def faults(path: Path, text: str) -> list[str]:
    """Links of a text at this place that lead nowhere, or are no addresses."""
    found = []
    for target in TARGET.findall(prose(text)):
        address = urlsplit(target)
        if address.scheme or target.startswith("//"):
            sound = address.scheme in ("https", "mailto") and re.fullmatch(
                r"[\w-]+(\.[\w-]+)+", address.netloc
            )
            found += [] if sound else [f"{target}: no address"]
            continue
        there = path.parent / address.path if address.path else path
        if not there.exists():
            found.append(f"{target}: no such file")
        elif address.fragment and address.fragment not in anchors(
            text if there == path else there.read_text(encoding="utf-8")
        ):
            found.append(f"{target}: no such heading")
    return found


@pytest.mark.parametrize("name", LISTED)
def test_every_link_leads_somewhere(name: str) -> None:
    assert faults(ROOT / name, (ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](nowhere.md)", "nowhere.md: no such file"),
        ("[a](CONTRIBUTING.md#nothing)", "CONTRIBUTING.md#nothing: no such heading"),
        ("# One\n[a](#two)", "#two: no such heading"),
        ("![a](http://example.org/a.png)", "http://example.org/a.png: no address"),
        ("[`a`](https://nodots/x)", "https://nodots/x: no address"),
    ],
)
def test_a_broken_link_is_found(text: str, fault: str) -> None:
    assert faults(ROOT / "README.md", text) == [fault]


def test_links_in_code_and_headings_with_code_are_read_right() -> None:
    text = (
        "# What `mini` does, or: GPT-2's\n[a](#what-mini-does-or-gpt-2s)\n`[b](c)`\n```\n# d\n[e](f)\n```\n"
    )
    assert faults(ROOT / "README.md", text) == []
    assert anchors(text) == {"what-mini-does-or-gpt-2s"}


def test_the_readme_is_short_and_opens_with_what_to_do() -> None:
    assert len(README.split()) <= 1000
    title, block = README.split("\n\n")[:2]
    assert title.startswith("# ")
    commands = block.splitlines()[1:-1]
    assert [command.split()[0] for command in commands] == ["git", "make", "xdg-open"]
    assert len(re.findall(r"!\[", README)) == 2


def test_the_readme_leads_to_every_part_of_the_documentation() -> None:
    parts = {path.parent.name for path in (ROOT / "docs").rglob("*.md")} | {"tutorial.md"}
    linked = {part for target in TARGET.findall(README) for part in Path(target).parts}
    # A library's page and the changes are found from the site.
    assert parts - {"docs", "library", "development"} <= linked


def test_numbers_of_the_readme_are_those_of_the_page_that_explains_them() -> None:
    findings = (ROOT / "docs/explanation/findings.md").read_text()
    section = README.split("## What it shows")[1].split("\n## ")[0]
    numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", prose(section))
    assert len(numbers) > 8
    known = set(re.findall(r"\d[\d,]*(?:\.\d+)?", findings)) | {"1,536"}
    assert [number for number in numbers if number.rstrip(",") not in known] == []
