"""LaTeX sources -> a PDF: always the same bytes from the same sources, and none where the log has a
complaint.

The sources are compiled in a folder of their own that holds nothing but the files that were named, so that a
document cannot rest on a file that nobody declared; the PDF is written whole or not at all.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fsrl import files
from fsrl.errors import FsrlError

PROGRAMS = ("latexmk", "pdflatex", "bibtex")
# conda's LaTeX: one program that runs XeTeX and BibTeX as often as it takes.
TECTONIC = "tectonic"
PACKAGES = (
    "latexmk texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended texlive-science lmodern"
)
HOW_TO_GET = (
    f"on Debian `apt-get install --no-install-recommends {PACKAGES}`; with conda environment.yml brings it"
)
# Points that a line may stick out before it is seen.
OVERFULL = 5.0
# Within a document of this size something is wrong if it takes longer.
SECONDS = 300
ENVIRONMENT = {
    # Dates in the PDF come from here and not from the clock.
    "SOURCE_DATE_EPOCH": "0",
    "FORCE_SOURCE_DATE": "1",
    # The log's lines are else broken at 79 characters, in the middle of the names that are looked for.
    "max_print_line": "10000",
    "error_line": "254",
    "half_error_line": "238",
}

_COMPLAINTS = (
    re.compile(r"(?:LaTeX|Package natbib) Warning: (?:Reference|Citation|Hyper reference) .*undefined.*"),
    re.compile(r"LaTeX Warning: Label .* multiply defined.*"),
    re.compile(r"LaTeX Warning: There were (?:undefined references|multiply-defined labels).*"),
    re.compile(r"Missing character: .*"),
    re.compile(r"LaTeX Font Warning: Font shape .* undefined.*"),
    re.compile(r"Warning--.*"),
)
_OVERFULL = re.compile(r"Overfull \\([hv])box \(([0-9.]+)pt too (?:wide|high)\).*")
_STOPPED = re.compile(r"^(?:! |[^\s:]+:\d+: ).*(?:\n(?!\n).*){0,2}", re.MULTILINE)


def missing_programs() -> list[str]:
    """Those of PROGRAMS that are not on the PATH; none where tectonic, which needs no other, is there."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return [] if shutil.which(TECTONIC) else missing


def complaints(log: str, *, overfull: float = OVERFULL) -> list[str]:
    """Lines of a LaTeX or BibTeX log that a reader of the PDF would notice, each once, in order.

    Undefined references and citations, labels defined twice, missing characters and fonts, BibTeX's
    warnings, and boxes that are too full by more than `overfull` points. Overfull vertical boxes count as
    well: a page's foot that is lost is no better than a line's end.
    """
    found: dict[str, None] = {}
    for line in log.splitlines():
        full = _OVERFULL.match(line)
        wrong = float(full[2]) > overfull if full else any(one.search(line) for one in _COMPLAINTS)
        if wrong:
            found[line.strip()] = None
    return list(found)


def expanded(paths: Sequence[Path]) -> list[Path]:
    """The paths, each folder of figures as the PDF files in it."""
    return [file for path in paths for file in (sorted(path.glob("*.pdf")) if path.is_dir() else [path])]


def compile_pdf(main: Path, sources: Sequence[Path], output: Path) -> list[str]:
    """Compile `main` (a path relative to the working directory) into the PDF `output`; returns the
    commands' log.

    sources: every file that it reads, relative to the working directory, `main` included; they keep their
    places. Raises FsrlError without an engine, for a source outside the working directory, an error of
    LaTeX, or complaints.
    """
    lacking = missing_programs()
    if lacking:
        raise FsrlError(f"{output}: {', '.join(lacking)} is not on the PATH; {HOW_TO_GET}")
    with files.temporary_folder("paper") as place:
        for source in dict.fromkeys(sources):
            if source.is_absolute() or ".." in source.parts:
                raise FsrlError(
                    f"{output}: {source} lies outside the project; copy it into the project first"
                )
            (place / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place / source)
        log = typeset(place / main, output)
        with files.atomic_write(output) as temporary:
            shutil.copyfile((place / main).with_suffix(".pdf"), temporary)
    return log


def _command(main: str) -> list[str]:
    """latexmk where it has what it needs, else tectonic; no document may start other programs."""
    if all(shutil.which(program) for program in PROGRAMS):
        options = ["-norc", "-latexoption=-no-shell-escape", "-pdf", "-interaction=nonstopmode"]
        return ["latexmk", *options, "-halt-on-error", "-file-line-error", main]
    return [TECTONIC, "--untrusted", "--keep-logs", "--keep-intermediates", main]


def typeset(main: Path, output: Path) -> list[str]:
    """Run LaTeX beside `main`, for `output`; the lines that it printed. FsrlError names what went wrong."""
    command = _command(main.name)
    environment = os.environ | ENVIRONMENT
    try:
        done = subprocess.run(
            command, cwd=main.parent, env=environment, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise FsrlError(
            f"{output}: {command[0]} took more than {SECONDS} s; see whether a source loops"
        ) from None
    logs = [main.with_suffix(suffix) for suffix in (".log", ".blg")]
    text = "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in logs if log.is_file())
    if done.returncode:
        found = _STOPPED.search(text)
        said = " ".join(found[0].split()) if found else f"{command[0]} ended with {done.returncode}"
        raise FsrlError(
            f"{output}: LaTeX stopped: {said}; correct the source or the module that generates it"
        )
    wrong = complaints(text)
    if wrong:
        more = f" (and {len(wrong) - 1} more, in the log)" if len(wrong) > 1 else ""
        print("\n".join(wrong))
        raise FsrlError(f"{output}: LaTeX complains: {wrong[0]}{more}; correct the source or the table")
    return done.stdout.decode("utf-8", errors="replace").splitlines()
