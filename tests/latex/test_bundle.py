"""The archive of a paper's sources: it compiles alone, the same bytes each time, whole or not at all."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from fsrl.errors import FsrlError
from fsrl.latex import bundle
from fsrl.latex import document as tex_document
from tests.fixtures import unpacked_paper

LATEX = pytest.mark.skipif(
    shutil.which("pdflatex") is None or bool(tex_document.missing_programs()),
    reason=f"no LaTeX here: {tex_document.HOW_TO_GET}",
)
BODY = r"""\documentclass{article}
\begin{document}
\input{generated/table} after \cite{someone}.
\input{../figures/study/drawn}
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""
SOURCES = {
    "paper/main.tex": BODY,
    "paper/references.bib": "@misc{someone, author={Someone}, title={Something}, year={2026}}",
    "paper/generated/table.tex": "A number.",
    "figures/study/drawn.tex": "A figure.",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(output: str, without: str = "") -> Path:
    sources = [Path(name) for name in SOURCES if name != without]
    bundle.write(Path("paper/main.tex"), sources, Path(output))
    return Path(output)


@LATEX
def test_it_compiles_alone_and_cites(project: Path) -> None:
    archive = write("out/arxiv.tar.gz")
    log = unpacked_paper.compiled(archive, project / "empty")
    assert tex_document.complaints(log) == [] and "Output written on main.pdf" in log
    with tarfile.open(archive) as packed:
        members = packed.getmembers()
    names = ["figures/study/drawn.tex", "generated/table.tex", "main.bbl", "main.tex"]
    assert [member.name for member in members] == names
    assert all((member.mtime, member.uid, member.uname) == (0, 0, "") for member in members)
    assert "Someone" in (project / "empty/main.bbl").read_text()


@LATEX
def test_the_same_sources_give_the_same_bytes(project: Path) -> None:
    first = write("a.tar.gz").read_bytes()
    for name in SOURCES:
        os.utime(name, (1, 1))
    assert write("b.tar.gz").read_bytes() == first


@LATEX
def test_none_is_written_of_what_does_not_compile(project: Path) -> None:
    with pytest.raises(FsrlError, match="LaTeX stopped"):
        write("a.tar.gz", without="paper/generated/table.tex")
    (project / "paper/main.tex").write_text(BODY.replace("someone", "nobody"))
    with pytest.raises(FsrlError, match="LaTeX complains: .*nobody"):
        write("a.tar.gz")
    (project / "paper/main.tex").write_text("\\documentclass{article}\\begin{document}a\\end{document}")
    with pytest.raises(FsrlError, match="no bibliography"):
        write("a.tar.gz")
    assert not Path("a.tar.gz").exists()


def test_a_source_outside_the_project_is_refused(project: Path) -> None:
    for path in (Path("../x.tex"), project / "paper/main.tex"):
        with pytest.raises(FsrlError, match="lies outside the project"):
            bundle.write(Path("paper/main.tex"), [path], Path("a.tar.gz"))
