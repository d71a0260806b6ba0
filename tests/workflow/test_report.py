"""`snakemake --report`: every figure with its caption, in its place, in a page that needs no network."""

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fsrl.hooks import hook_label
from tests.fixtures.project import ROOT, Project, environment

# Python imports this by itself at start: a connection to another machine ends the run.
NO_NETWORK = """
import socket

def refuse(self, address, *rest):
    raise OSError(f"the network was asked for {address}")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse
"""


@pytest.fixture(scope="module")
def page(built: Project, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the tiny study, made where no network can be reached."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    command = built.command("--report", str(folder / "report.html"))
    offline = environment() | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=built.folder, capture_output=True, text=True, env=offline)
    assert done.returncode == 0, done.stderr
    assert "Missing metadata" not in done.stderr
    # What a caption names and its job has not, is said so in the page.
    assert "(WARNING" not in done.stderr and "(ERROR" not in done.stderr, done.stderr
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def results(page: str) -> dict:
    """path -> what the report knows of a result."""
    found = re.search(r"var results = (\{.*?\});\n", page, re.S)
    return json.loads(found[1])


def figures(project: Project) -> set[str]:
    return {str(path.relative_to(project.folder)) for path in (project.folder / "figures").rglob("*.png")}


def figure_name(path: str) -> str:
    """Of a folder of one figure a layer, the folder's name."""
    folder = Path(path).parent.name
    return folder if folder in ("splits", "two_views") else Path(path).stem


def caption_file(path: str) -> Path:
    """Where the caption of a figure is written."""
    place, name = Path(path).parts[2], figure_name(path)
    folder = place if place in ("effects", "planted") else ""
    return ROOT / "workflow/report" / folder / f"{name}.rst"


def words(caption: str) -> str:
    """A rendered caption as a reader sees it."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", caption)).split())


def test_the_network_is_really_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    code = "import urllib.request as r; r.urlopen('http://127.0.0.1:9')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert "the network was asked for" in done.stderr


def test_every_figure_is_in_the_report(built: Project, results: dict) -> None:
    assert {path for path in results if path.startswith("figures/")} == figures(built)


def test_every_figure_has_its_caption(built: Project, results: dict) -> None:
    for path in figures(built):
        bold = re.search(r"\*\*(.*?)\*\*", caption_file(path).read_text(), re.S)
        shown = words(results[path]["caption"])
        assert " ".join(bold[1].split()) in shown
        assert "System Message" not in shown
        # The study's name, and nothing that was left unfilled.
        assert "tiny" in shown, path
        assert "{{" not in shown and "snakemake." not in shown and "System Message" not in shown


def test_figures_are_labelled_by_layer_and_view(built: Project, results: dict) -> None:
    for path in figures(built):
        parts = Path(path).parts
        labels = results[path]["labels"]
        assert labels["figure"] == figure_name(path).replace("_", " ")
        of_folder = figure_name(path) != Path(path).stem
        layer = Path(path).stem if of_folder else parts[3] if len(parts) == 5 else "all"
        assert labels["layer"] == hook_label(layer)
        if len(parts) > 3 and not of_folder:
            assert labels["view or stage"] == parts[2]


def test_figures_are_sorted_by_study_and_subject(built: Project, page: str) -> None:
    categories = json.loads(re.search(r"var categories = (\{.*?\});\n", page, re.S)[1])
    by_subject = {name: {figure_name(path) for path in paths} for name, paths in categories["tiny"].items()}
    assert sorted(by_subject)[0] == "Headline" and by_subject["Headline"] == {"headline"}
    assert by_subject["Measured effects"] == {"agreement", "agreement_by_type", "moments", "retention"}
    assert by_subject["Token sets"] == {
        "enrichment_heatmap",
        "manhattan",
        "null_p_values",
        "set_coverage",
        "splits",
    }
    assert by_subject["Moments and types"] >= {"skewness", "types", "exemplars", "layers_grid"}
    assert set().union(*by_subject.values()) == {figure_name(path) for path in figures(built)}


def test_a_title_is_shown_and_not_run(built: Project, tmp_path: Path) -> None:
    project = built.copy(tmp_path / "project")
    path = project.folder / "tiny/config.yaml"
    config = json.loads(path.read_text())
    title = "tiny </script> <script>alert(1) </script> `x <javascript:alert(1)>`_"
    config["studies"]["tiny"]["title"] = title
    path.write_text(json.dumps(config))
    done = project.snakemake("--report", str(tmp_path / "report.html"))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert(1)" not in page
    found = json.loads(re.search(r"var results = (\{.*?\});\n", page, re.S)[1])
    captions = [result["caption"] for result in found.values() if "Kurtosis of" in result["caption"]]
    assert captions and all("&lt;script&gt;alert(1)" in caption for caption in captions)
    assert not any('javascript:alert(1)"' in caption for caption in captions)
    assert any(title in result["job_properties"]["params"] for result in found.values())


def test_the_page_asks_for_nothing_from_elsewhere(page: str) -> None:
    assert (
        re.findall(r"<(?:script|link|img|iframe)[^>]*\b(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page) == []
    )
