"""The article itself, over made-up studies: one that has everything and one that has only what every study
has.
"""

import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from fsrl.errors import FsrlError
from fsrl.latex import document as tex_document
from fsrl.latex import studies as tex_studies
from fsrl.numbers import headlines as tex_numbers
from tests.fixtures import synthetic_study as synthetic
from tests.fixtures.paper_numbers import SOURCES, fixed_values, read
from tests.fixtures.paper_text import words
from tests.latex import test_tables_compile as of_thirteen_hooks

ROOT = Path(__file__).parents[2]
PARTS = ["other-view", "evidence", "effects", "transport", "steering", "planted", "ablations", "dictionaries"]
PLACES = {"view": "trained", "other-view": "main", "last": synthetic.SAES[-1], "model": "up_model"}
TABULAR = "\\begin{tabular}{lS[table-format=1.2]}\\toprule a & 1.25 \\\\ \\bottomrule\\end{tabular}\n"
ONLY_BASIC = ("moments", "thresholds", "null_counts", "tokens", "summary", "null")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(tex_document.missing_programs()), reason=f"no LaTeX here: {tex_document.HOW_TO_GET}"
    ),
]


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> dict[str, object]:
    return synthetic.write(tmp_path_factory.mktemp("results"))


def project(
    folder: Path, given: dict[str, object], studies: dict[str, list[str]], skipped: list[str]
) -> list[Path]:
    """The paper's sources with what is generated for these studies (name -> parts); every file, relative."""
    generated = folder / "paper/generated"
    generated.mkdir(parents=True)
    for source in [*SOURCES, ROOT / "paper/references.bib"]:
        shutil.copy(source, folder / "paper")
    numbers = [tex_numbers.macros(name, values) for name, values in fixed_values().items()]
    for table in ("speed", "compute"):
        (generated / f"{table}.tex").write_text(TABULAR)
    of_model = Path("models") / PLACES["model"]
    (generated / of_model).mkdir(parents=True)
    for table in ("dictionaries", "counterparts"):
        (generated / of_model / f"{table}.tex").write_text(TABULAR)
    (folder / "figures" / of_model).mkdir(parents=True)
    shutil.copy(_figure(folder), folder / "figures" / of_model / "dictionaries.pdf")
    for name, parts in studies.items():
        tables = given if parts else {key: given[key] for key in ONLY_BASIC}
        numbers.append(tex_numbers.macros(name, read(tables, name, synthetic.SAES)))
        results = "\n".join(source.read_text() for source in SOURCES)
        for table in re.findall(r"\\studytable\{(\w+)\}", results):
            (generated / name).mkdir(exist_ok=True)
            (generated / name / f"{table}.tex").write_text(TABULAR)
        for figure in re.findall(r"\\studyfigure(?:\[[^]]*\])?\{([^#]+?)\}\n", results):
            place = re.sub(r"\\place\{([\w-]+)\}", lambda match: PLACES[match[1]], figure)
            path = folder / f"figures/{name}/{place}.pdf"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(_figure(folder), path)
    (generated / "numbers.tex").write_text(tex_numbers.document(numbers))
    told = [{"name": name, "parts": parts, "places": PLACES} for name, parts in studies.items()]
    (generated / "studies_built.tex").write_text(tex_studies.document(told, skipped, told[0]["name"]))
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]


def _figure(folder: Path) -> Path:
    path = folder / "figure.pdf"
    if not path.exists():
        figure = plt.figure(figsize=(7, 3))
        figure.text(0.5, 0.5, "a figure")
        figure.savefig(path, metadata={"CreationDate": None})
        plt.close(figure)
    return path


def compiled(folder: Path, sources: list[Path], monkeypatch) -> str:
    """The text of the PDF, in one line."""
    monkeypatch.chdir(folder)
    tex_document.compile_pdf(Path("paper/main.tex"), sources, folder / "main.pdf")
    return words(folder / "main.pdf")


def test_it_speaks_of_the_studies_that_were_built_and_of_no_other(tmp_path, given, monkeypatch):
    studies = {"made-up": PARTS, "bare_study": []}
    text = compiled(tmp_path, project(tmp_path, given, studies, ["GPT-2 & its like"]), monkeypatch)
    for said in ("The text tells of made-up", "Token sets and claims of made-up", "GPT-2 & its like"):
        assert said in text
    assert "??" not in text
    assert "bare_study: what it is made of" in text
    assert "Token sets and claims of bare_study" not in text
    assert text.count("in every dictionary of the model") == 1  # under the study that stands for the model
    assert text.count("Do the logits move as the weights say?") == 1
    assert "The embedded study" not in text


def test_a_study_that_has_only_what_every_study_has_can_be_told_alone(tmp_path, given, monkeypatch):
    text = compiled(tmp_path, project(tmp_path, given, {"bare_study": []}, []), monkeypatch)
    assert "The text tells of bare_study" in text and "??" not in text
    for not_measured in ("Do the logits move", "What the features promote", "Planted types found"):
        assert not_measured not in text
    assert "None of this was measured for bare_study." in text and "agreement with the logits" not in text


def test_a_study_of_thirteen_hooks_fits_its_pages(tmp_path, given, monkeypatch):
    """The tables are as long and wide as such a study's; its numbers are those of the made-up one."""
    studies = {"made-up": PARTS}
    sources = project(tmp_path, given, studies, [])
    places = [tmp_path / "paper/generated" / of for of in ("made-up", Path("models") / PLACES["model"])]
    replaced = [
        (place / f"{name}.tex").write_text(table)
        for name, table in of_thirteen_hooks.tables().items()
        for place in places
        if (place / f"{name}.tex").is_file()
    ]
    assert len(replaced) > 15
    text = compiled(tmp_path, sources, monkeypatch)
    assert "??" not in text and text.count("11 post") > 5


# Points of type in print; figures are drawn with nothing below 7.
SMALLEST_PRINTED = 6.8
LAST_PAGE = 12


@pytest.fixture(scope="module")
def typeset(built_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper of the built studies, with what LaTeX leaves beside it."""
    if lacking := [name for name in tex_document.PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"sizes of figures are read from pdfLaTeX's log: no {', '.join(lacking)} here")
    folder = tmp_path_factory.mktemp("typeset")
    for name in ("paper", "figures"):
        shutil.copytree(built_mini / name, folder / name)
    tex_document.typeset(folder / "paper/main.tex", folder / "main.pdf")
    return folder / "paper"


def test_the_main_text_ends_in_time(typeset: Path) -> None:
    page = re.search(r"\\newlabel\{end-of-text\}\{\{[^{}]*\}\{(\d+)\}", (typeset / "main.aux").read_text())
    assert int(page[1]) <= LAST_PAGE


def test_no_figure_is_shrunk_below_legible_type(typeset: Path) -> None:
    """Sizes of the files are in the log, and what they may take of the page in the preamble."""
    sources = "\n".join(source.read_text() for source in SOURCES)
    width, height = (
        float(re.search(rf"text{side}=([\d.]+)mm", sources)[1]) / 25.4 * 72.27 for side in ("width", "height")
    )
    # One limit for all: an option of its own would have to be read here too.
    (share,) = set(re.findall(r"figure\}\[2\]\[max height=([\d.]+)\\textheight\]", sources))
    assert not re.search(r"\\(?:study|model)figure\[", sources)
    log = (typeset / "main.log").read_text(encoding="utf-8", errors="replace")
    drawn = re.findall(r"<(\.\./figures/[^>,]+\.pdf), id=\d+, ([\d.]+)pt x ([\d.]+)pt>", log)
    assert len({name for name, *_ in drawn}) > 10
    scales = {
        name: min(1, width / float(wide), float(share) * height / float(high)) for name, wide, high in drawn
    }
    small = {name: 7 * scale for name, scale in scales.items() if 7 * scale < SMALLEST_PRINTED}
    assert small == {}


def test_a_number_that_no_table_gives_stops_it(tmp_path, given, monkeypatch):
    sources = project(tmp_path, given, {"made-up": PARTS}, [])
    numbers = tmp_path / "paper/generated/numbers.tex"
    lines = [line for line in numbers.read_text().splitlines() if "{typed.share}" not in line]
    numbers.write_text("\n".join(lines))
    with pytest.raises(FsrlError, match="number made-up/typed.share is not defined"):
        compiled(tmp_path, sources, monkeypatch)


def test_every_reference_is_cited_and_every_citation_is_there():
    entries = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "paper/references.bib").read_text(), re.MULTILINE))
    text = "\n".join(source.read_text() for source in SOURCES)
    cited = {key.strip() for keys in re.findall(r"\\cite[tp]?\{([^}]*)\}", text) for key in keys.split(",")}
    assert cited == entries


def test_files_and_rules_that_the_paper_links_are_there():
    text = "\n".join(source.read_text() for source in SOURCES if source.name != "preamble.tex")
    linked = set(re.findall(r"\\projectfile\{([^}#]*)\}", text))
    made_by = set(re.findall(r"\\claimrow\{.*\{(\w+)\}\n", text))
    assert len(made_by) == text.count(r"\claimrow{") > 10
    made_by |= set(re.findall(r"\\madeby\{(\w+)\}", text))
    assert len(linked) > 10 and len(made_by) > 20
    linked |= {f"workflow/scripts/{rule}.py" for rule in made_by}
    assert [path for path in sorted(linked) if not (ROOT / path).is_file()] == []


def test_every_figure_and_table_of_results_names_its_rule():
    floats = re.compile(r"\\begin\{(figure|table)\}(.*?)\\end\{\1\}", re.DOTALL)
    ours = re.compile(r"\\(?:study|model)(?:figure|table)|\\input\{generated/|\\cfg\{rules\}|overviewrows")
    for source in SOURCES:
        for kind, body in floats.findall(source.read_text()):
            made = ours.search(body)
            assert not made or r"\madeby{" in body, (source.name, kind, body[:80])
