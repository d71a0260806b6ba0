"""`make docs`: no network is asked, a broken link stops it, links lead somewhere, pages fit a screen."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import lxml.html
import pytest
import yaml

import fsrl
from fsrl.tables.moments import MOMENTS
from tests.fixtures.driven_browser import Visit, chromium

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
# MkDocs in a process that can reach no host.
BUILD = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from mkdocs.__main__ import cli
cli(["build", "--strict", "--site-dir", sys.argv[1]])
"""


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """The documentation of the project in a folder, as `make docs` builds it, elsewhere."""
    return subprocess.run(
        [sys.executable, "-c", BUILD, str(site)],
        cwd=folder,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "a site"
    done = build(ROOT, folder)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Any]:
    """Every page but the one for addresses that a server does not have, parsed."""
    return {
        path: lxml.html.parse(str(path)).getroot()
        for path in sorted(site.rglob("*.html"))
        if path.name != "404.html"
    }


def test_make_docs_is_this_build() -> None:
    lines = (ROOT / "Makefile").read_text().split("\ndocs: ")[1].split("\n\n")[0]
    assert "mkdocs --quiet build --strict" in lines


def test_a_broken_link_stops_the_build(tmp_path: Path) -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--"]
    places = ["*.md", "docs", "mkdocs.yml", "config", "figures", "src"]
    for name in subprocess.check_output([*listed, *places], cwd=ROOT, text=True).splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "docs/tutorial.md").write_text(
        "# Tutorial\n\n[a](../nowhere.md) [b](how-to/run.md#nowhere)\n"
    )
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "tutorial.md: no page and no file: ../nowhere.md" in done.stderr
    assert "'how-to/run.md' does not contain an anchor '#nowhere'" in done.stderr


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: Path, pages: dict[Path, Any]) -> None:
    ids = {path: {*page.xpath("//@id"), *page.xpath("//a/@name")} for path, page in pages.items()}
    broken, followed = [], 0
    for path, page in pages.items():
        for target in page.xpath("//a/@href | //img/@src | //script/@src | //link/@href"):
            address = urlsplit(target)
            if address.scheme:
                continue
            there = Path(os.path.normpath(path.parent / unquote(address.path))) if address.path else path
            followed += 1
            if not there.is_file():
                broken.append((path.name, target))
            elif address.fragment and there in ids and unquote(address.fragment) not in ids[there]:
                # "__" begins what the theme's own switches are called.
                broken += [] if address.fragment.startswith("__") else [(path.name, target)]
    assert broken == [] and followed > 1000


def test_the_pages_load_nothing_from_elsewhere(pages: dict[Path, Any]) -> None:
    for path, page in pages.items():
        loaded = page.xpath(
            "//script/@src | //img/@src | //iframe/@src | //link[@rel='stylesheet' or @rel='icon']/@href"
        )
        assert [target for target in loaded if urlsplit(target).netloc] == [], path


def test_the_reference_has_every_public_name_and_every_table(pages: dict[Path, Any]) -> None:
    by_name = {path.parent.name + "/" + path.name: page for path, page in pages.items()}
    for modules in fsrl.PUBLIC.values():
        for module, names in modules.items():
            if module == "fsrl._version":
                continue
            for thing in (getattr(import_module(module), name) for name in names):
                room = thing.__module__.split(".")[1]
                ids = by_name[f"library/{room}.html"].xpath("//@id")
                assert f"{thing.__module__}.{thing.__name__}" in ids
    cells = set(by_name["reference/tables.html"].xpath("//td/code/text()"))
    assert set(MOMENTS.columns) <= cells


def test_shapes_stand_in_the_reference(site: Path) -> None:
    text = lxml.html.parse(str(site / "reference/library/moments.html")).getroot().text_content()
    assert re.search(r'Float\[Tensor, "\w+ d_model"\]|float64 \[d_sae\]|\[features, \w+\]', text)


def test_the_graph_of_the_rules_has_every_rule_once(site: Path) -> None:
    text = (ROOT / "docs/reference/figures.md").read_text()
    arrows = re.findall(r"^  (\w+) --> (\w+)$", text, re.M)
    page = lxml.html.parse(str(site / "reference/figures.html")).getroot()
    drawn = page.xpath("//div[@class='rules']//text/text()")
    assert sorted(drawn) == sorted({rule for arrow in arrows for rule in arrow})
    assert len(page.xpath("//div[@class='rules']//path")) == len(arrows)
    boxes = [tuple(float(box.get(key)) for key in ("x", "y")) for box in page.xpath("//rect")]
    assert len(set(boxes)) == len(drawn)


CODE, TABLES = (
    f"[...document.querySelectorAll('article {part}')]" for part in ("pre > code", ".md-typeset__scrollwrap")
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def shown() -> list[str]:
    """Pages of the navigation, one of the library's rooms among them."""
    text = re.sub(r"!!python\S+", "", (ROOT / "mkdocs.yml").read_text())
    found = re.findall(r"([\w/-]+)\.md", yaml.safe_dump(yaml.safe_load(text)["nav"]))
    return [f"{name}.html" for name in [*found, "reference/library/enrichment"]]


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_opened_as_files_fit_the_window_and_ask_for_nothing(
    site: Path, browser: Any, width: int
) -> None:
    visit = Visit(browser, viewport={"width": width, "height": 900})
    for name in shown():
        visit.page.goto((site / name).as_uri())
        over = visit.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert over == 0, name
        images = "[...document.querySelectorAll('article img')]"
        assert visit.page.evaluate(f"{images}.every(image => image.naturalWidth)"), name
        assert visit.page.evaluate(f"{images}.every(image => image.alt.length > 20)"), name
        # On a desk's screen no line of code, and no column of a table, is hidden.
        hidden = visit.page.evaluate(
            f"[{CODE}, {TABLES}].flat().filter(one => one.scrollWidth > one.clientWidth)"
            ".map(one => one.innerText.slice(0, 80))"
        )
        assert width < 1000 or hidden == [], name
    visit.context.close()
    asked = [url for url in visit.asked if not url.startswith((site.as_uri(), "data:", "blob:"))]
    assert asked == [] and visit.said == []


def test_the_search_finds_a_function_in_pages_opened_as_files(site: Path, browser: Any) -> None:
    visit = Visit(browser)
    visit.page.goto((site / "index.html").as_uri())
    visit.page.locator("input[name=query]").click()
    visit.page.keyboard.type("logit_moments_of_readings")
    found = visit.page.locator(".md-search-result__link").first
    found.wait_for()
    assert "library/moments.html" in found.get_attribute("href")
    visit.context.close()
