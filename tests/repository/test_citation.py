"""How to cite the project: a sound CITATION.cff, and the same facts wherever they are written."""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator, FormatChecker

import fsrl
from fsrl.numbers.fixed import project_values
from workflow import address

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests/data/cff-1.2.0.schema.json").read_text())
README = (ROOT / "README.md").read_text()
BIBTEX = re.search(r"```bibtex\n(.*?)```", README, re.S)


@pytest.fixture
def cff() -> dict:
    # Without this YAML would make dates of what the schema wants as text.
    return yaml.load((ROOT / "CITATION.cff").read_text(), Loader=yaml.BaseLoader)


@pytest.fixture
def zenodo() -> dict:
    return json.loads((ROOT / ".zenodo.json").read_text())


def faults(cff: dict) -> list[str]:
    """What the Citation File Format's own schema has against it; years are numbers there."""
    cff = deepcopy(cff)
    for reference in cff["references"]:
        reference["year"] = int(reference["year"])
    validator = Draft7Validator(SCHEMA, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(cff)]


def test_citation_file_is_valid(cff: dict) -> None:
    assert faults(cff) == []


@pytest.mark.parametrize(
    "change",
    [{"cff-version": "1.1"}, {"license": "free"}, {"authors": []}, {"colour": "red"}, {"version": ["1"]}],
    ids=str,
)
def test_a_broken_citation_file_is_not(cff: dict, change: dict) -> None:
    assert faults(cff | change)


def test_the_version_stands_in_one_place(cff: dict, zenodo: dict) -> None:
    assert cff["version"] == fsrl.__version__
    assert zenodo["version"] == fsrl.__version__
    assert f"version = {{{fsrl.__version__}}}" in BIBTEX[1]
    assert f"fsrl {fsrl.__version__}}}" in (ROOT / "paper/references.bib").read_text()
    # pyproject.toml reads it from the package; the newest entry of the changelog is of this version.
    assert 'version = { attr = "fsrl._version.__version__" }' in (ROOT / "pyproject.toml").read_text()
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest[1] == fsrl.__version__


def test_zenodo_and_bibtex_say_the_same(cff: dict, zenodo: dict) -> None:
    for field, other in (("title", "title"), ("license", "license"), ("keywords", "keywords")):
        assert zenodo[other] == cff[field]
    assert zenodo["description"] == cff["abstract"]
    assert [creator["name"] for creator in zenodo["creators"]] == [
        author["name"] for author in cff["authors"]
    ]
    plain = re.sub(r"[{}]", "", re.search(r"title\s*=\s*\{(.*)\},", BIBTEX[1])[1])
    assert plain == cff["title"]
    assert f"author = {{{{{cff['authors'][0]['name']}}}}}" in BIBTEX[1]
    assert cff["license"] in (ROOT / "LICENSE").read_text().splitlines()[0]


def test_the_report_and_the_paper_have_the_one_title(cff: dict) -> None:
    assert (ROOT / "workflow/report/workflow.rst").read_text().splitlines()[0] == cff["title"]
    values = project_values(cff)
    assert f"{values['title']} {values['subtitle']}" == cff["title"]
    assert values["pdfdate"] == "D:" + cff["date-released"].replace("-", "") + "000000Z"
    assert values["root"] == ".."
    told = project_values(cff | {"repository-code": "https://example.org/fsrl"})
    assert told["root"] == "https://example.org/fsrl/blob/HEAD"


def addresses(root: Path) -> dict[str, set[str]]:
    """File -> the addresses of the repository that it tells, however often."""
    found = {}
    for name in address.FILES:
        text = (root / name).read_text()
        told = [*address.CLONE.findall(text), *re.findall(r"^repository-code: (.*)$", text, re.M)]
        for entry in address.ENTRY.findall(text):
            told += re.findall(r"^ +url += \{(.*)\},$", entry, re.M)
        found[name] = set(told)
    return found


def test_every_file_tells_the_one_address_or_that_there_is_none(cff: dict) -> None:
    told, one = addresses(ROOT), cff.get("repository-code")
    commands, others = {"README.md", "docs/tutorial.md"}, {"CITATION.cff", "paper/references.bib"}
    assert all(told[name] == {one or address.PLACEHOLDER} for name in commands)
    assert all(told[name] == ({one} if one else set()) for name in others)
    assert all((address.NOTE in (ROOT / name).read_text()) == (one is None) for name in commands)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in address.FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    return tmp_path


def test_an_address_is_written_into_every_file_and_written_over(copied: Path) -> None:
    for url in ("https://example.org/one/fsrl", "https://example.com/a.b/fsrl-2"):
        address.write(copied, url)
        assert addresses(copied) == dict.fromkeys(address.FILES, {url})
        assert url in (copied / "README.md").read_text().split("```bibtex")[1]
        cff = yaml.load((copied / "CITATION.cff").read_text(), Loader=yaml.BaseLoader)
        assert cff["repository-code"] == url and faults(cff) == []
        assert not any(address.PLACEHOLDER in (copied / name).read_text() for name in address.FILES)
    once = [(copied / name).read_text() for name in address.FILES]
    address.write(copied, url)
    assert [(copied / name).read_text() for name in address.FILES] == once


@pytest.mark.parametrize(
    "url",
    [
        "example.org/fsrl", "http://example.org/a/fsrl", "https://example.org", "https://example.org/a b",
        "https://example.org/a/fsrl.git", "https://example.org/a/fsrl?x", "https://example.org/a/$(b)", "",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_nothing_written(copied: Path, url: str) -> None:
    before = addresses(copied)
    with pytest.raises(ValueError, match="no address such as"):
        address.write(copied, url)
    assert addresses(copied) == before


def test_references_are_those_of_the_paper(cff: dict) -> None:
    bibliography = (ROOT / "paper/references.bib").read_text()
    for reference in cff["references"]:
        title = re.escape(reference["title"])
        entry = next(
            part for part in bibliography.split("\n@") if re.search(title, re.sub(r"[{}]", "", part))
        )
        authors = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in reference["authors"])
        assert authors in entry
        assert re.search(rf"year\s*=\s*\{{{reference['year']}\}}", entry)
        assert reference["url"] in entry
