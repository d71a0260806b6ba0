"""Compiling: the log's complaints by hand; with LaTeX, same bytes twice, whole or not at all, declared
files only.
"""

from pathlib import Path

import pytest

from fsrl.errors import FsrlError
from fsrl.latex import document as tex_document

LATEX = pytest.mark.skipif(
    bool(tex_document.missing_programs()), reason=f"no LaTeX here: {tex_document.HOW_TO_GET}"
)
FINE = r"""This is pdfTeX
Overfull \hbox (4.99pt too wide) in paragraph at lines 3--4
Underfull \vbox (badness 10000) has occurred while \output is active
LaTeX Font Info:    Font shape `T1/lmr/m/n' tried
Output written on main.pdf (3 pages, 1234 bytes).
"""


def test_a_fine_log_has_no_complaints():
    assert tex_document.complaints(FINE) == []


@pytest.mark.parametrize(
    "line",
    [
        r"Overfull \hbox (5.01pt too wide) in paragraph at lines 3--4",
        r"Overfull \hbox (123.0pt too wide) in alignment at lines 7--20",
        r"Overfull \vbox (12.5pt too high) has occurred while \output is active []",
        "LaTeX Warning: Reference `fig:x' on page 2 undefined on input line 7.",
        "Package natbib Warning: Citation `nobody' on page 1 undefined on input line 12.",
        "LaTeX Warning: Citation `nobody' on page 1 undefined on input line 12.",
        "LaTeX Warning: There were undefined references.",
        "LaTeX Warning: Label `fig:x' multiply defined.",
        "Missing character: There is no \u4e2d in font ec-lmr10!",
        "LaTeX Font Warning: Font shape `T1/lmtt/bx/sc' undefined",
        'Warning--I didn\'t find a database entry for "nobody"',
    ],
)
def test_what_a_reader_would_see_is_a_complaint(line):
    assert tex_document.complaints(f"{FINE}{line}\n{line}\n") == [line]


def test_the_limit_of_overfull_boxes_can_be_chosen():
    assert len(tex_document.complaints(FINE, overfull=4.0)) == 1


def write(folder: Path, body: str) -> list[Path]:
    (folder / "paper").mkdir(exist_ok=True)
    text = "\\documentclass{article}\n\\pdftrailerid{}\\pdfinfoomitdate=1\\pdfsuppressptexinfo=-1\n"
    (folder / "paper/main.tex").write_text(f"{text}\\begin{{document}}\n{body}\n\\end{{document}}\n")
    return [Path("paper/main.tex")]


def compiled(folder: Path, monkeypatch, body: str) -> Path:
    monkeypatch.chdir(folder)
    output = folder / "out/main.pdf"
    tex_document.compile_pdf(Path("paper/main.tex"), write(folder, body), output)
    return output


@LATEX
def test_the_same_source_gives_the_same_bytes(tmp_path, monkeypatch):
    first = compiled(tmp_path, monkeypatch, r"Hello, \today{} \ref{a}\label{a}").read_bytes()
    assert first.startswith(b"%PDF")
    assert compiled(tmp_path, monkeypatch, r"Hello, \today{} \ref{a}\label{a}").read_bytes() == first
    assert compiled(tmp_path, monkeypatch, "Another text").read_bytes() != first


@LATEX
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (r"\undefinedcommand", "LaTeX stopped.*Undefined control sequence"),
        (r"See \ref{nowhere}.", "LaTeX complains.*nowhere"),
        (r"\noindent\rule{2\textwidth}{1pt}", "LaTeX complains.*Overfull"),
        (r"\input{paper/undeclared}", "LaTeX stopped.*undeclared"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(tmp_path, monkeypatch, body, said):
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper/undeclared.tex").write_text("not among the sources")
    with pytest.raises(FsrlError, match=said):
        compiled(tmp_path, monkeypatch, body)
    assert not list(tmp_path.glob("out/*"))


@LATEX
def test_no_command_of_the_system_is_run(tmp_path, monkeypatch):
    compiled(tmp_path, monkeypatch, r"text\immediate\write18{touch " + str(tmp_path / "run") + "}")
    assert not (tmp_path / "run").exists()


def test_a_source_outside_the_project_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tex_document, "missing_programs", list)
    for source in (Path("/etc/hosts"), Path("../elsewhere.tex")):
        with pytest.raises(FsrlError, match="lies outside the project"):
            tex_document.compile_pdf(Path("paper/main.tex"), [source], tmp_path / "main.pdf")


def test_without_an_engine_it_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FsrlError, match=r"latexmk, pdflatex, bibtex is not on the PATH; on Debian `apt-get"):
        tex_document.compile_pdf(Path("paper/main.tex"), [], tmp_path / "main.pdf")


TECTONIC = """#!/bin/sh
echo "$@" > "{folder}/asked"
echo "{log}" > main.log
printf '%s' '%PDF-by-tectonic' > main.pdf
"""


@pytest.mark.parametrize(("log", "fine"), [("fine", True), ("Missing character: There is no x", False)])
def test_where_conda_brings_tectonic_it_is_the_engine(tmp_path, monkeypatch, log, fine):
    """A stand-in: it shows how tectonic is asked and that its log is read, not that it sets the document."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "tectonic").write_text(TECTONIC.format(folder=tmp_path, log=log))
    (programs / "tectonic").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    assert tex_document.missing_programs() == []
    if not fine:
        with pytest.raises(FsrlError, match="Missing character"):
            compiled(tmp_path, monkeypatch, "text")
        return
    assert compiled(tmp_path, monkeypatch, "text").read_bytes() == b"%PDF-by-tectonic"
    assert (tmp_path / "asked").read_text().split() == [
        "--untrusted",
        "--keep-logs",
        "--keep-intermediates",
        "main.tex",
    ]
