"""`snakemake arxiv` on the tiny study: in an empty folder the archive compiles into the paper."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fsrl.latex import document as tex_document
from tests.fixtures import unpacked_paper
from tests.fixtures.project import ROOT, Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pdflatex") is None, reason=f"no LaTeX here: {tex_document.HOW_TO_GET}"),
    pytest.mark.skipif(shutil.which("pdfinfo") is None, reason="no pdfinfo (poppler-utils)"),
]


def said_of(pdf: Path) -> dict[str, str]:
    """What a PDF's metadata says."""
    lines = subprocess.check_output(["pdfinfo", str(pdf)], text=True).splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_the_archive_is_the_paper(built: Project, tmp_path: Path) -> None:
    project = built.copy(tmp_path / "project")
    done = project.snakemake("arxiv")
    assert done.returncode == 0, done.stderr
    log = unpacked_paper.compiled(project.folder / "paper/arxiv.tar.gz", tmp_path / "empty")
    assert tex_document.complaints(log) == []
    ours, theirs = (said_of(pdf) for pdf in (project.folder / "paper/main.pdf", tmp_path / "empty/main.pdf"))
    assert ours["Pages"] == theirs["Pages"] and int(ours["Pages"]) > 5
    for pdf in (ours, theirs):
        assert pdf["Title"] == yaml.safe_load((ROOT / "CITATION.cff").read_text())["title"]
        assert pdf["Author"] == "The fsrl contributors" and "sparse autoencoders" in pdf["Keywords"]
