"""What a run shows: its progress, whole errors, and at the end what to open and what was left out."""

import os
import pty
import re
import subprocess
from pathlib import Path

from fsrl.latex import document as tex_document
from tests.fixtures.project import Project, environment

INDEX = "paper/generated/studies_built.tex"


def in_a_terminal(project: Project) -> tuple[int, str]:
    """Exit status and what snakemake shows in a terminal, without its colours and movements."""
    ours, its = pty.openpty()
    wide = environment() | {"COLUMNS": "100", "LINES": "50", "TERM": "xterm"}
    with subprocess.Popen(
        project.command(), cwd=project.folder, env=wide, stdin=its, stdout=its, stderr=its
    ) as process:
        os.close(its)
        shown = b""
        # Linux ends the reading of a terminal that nobody writes to with an error.
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:
            pass
        os.close(ours)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", shown.decode())


def test_the_end_says_what_to_open_and_what_was_left_out(built: Project, tmp_path: Path) -> None:
    project = built.copy(tmp_path / "project")
    (project.folder / INDEX).unlink()
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and len(done.stderr) < 5000 and "rule " not in done.stderr.replace(" rule ", "")
    _, end = re.split(r"(?m)^Built in \d+ min \d+ s\. To open:$", done.stderr)
    to_open, left_out = end.split("Left out:\n")
    places = ["figures: figures/tiny/", "one row a layer: results/tiny/summary/trained.tsv"]
    paper = [] if tex_document.missing_programs() else ["the paper: paper/main.pdf"]
    assert [line.strip() for line in to_open.splitlines() if line] == paper + places
    lines = [line.strip() for line in left_out.splitlines()]
    assert "the notebooks are skipped: study mini is not among those that are built" in lines
    skipped = [line for line in lines if line.startswith("paper/main.pdf is skipped")]
    assert bool(skipped) == bool(tex_document.missing_programs())
    # Another target: nothing that it did not make.
    (project.folder / "results/tiny/token_sets.parquet").unlink()
    done = project.snakemake("--until", "find_token_sets")
    assert "Done in 0 min" in done.stderr and "To open" not in done.stderr


def test_a_failed_job_shows_its_error_and_its_log(built: Project, tmp_path: Path) -> None:
    project = built.copy(tmp_path / "project")
    script = project.folder / "workflow/scripts/write_paper_index.py"
    script.write_text(script.read_text() + '\nraise ValueError("these [two] do not match")\n')
    status, shown = in_a_terminal(project)
    assert status == 1
    assert "Total Progress" in shown
    assert "error: ValueError: these [two] do not match (traceback in logs/write_paper_index.log)" in shown
    assert "Log file: logs/write_paper_index.log" in shown and "Traceback (most recent call last)" in shown
    assert "To open" not in shown


def test_a_job_that_never_began_its_log_is_no_traceback(built: Project, tmp_path: Path) -> None:
    project = built.copy(tmp_path / "project")
    script = project.folder / "workflow/scripts/write_paper_index.py"
    script.write_text("raise SystemExit(3)\n" + script.read_text())
    (project.folder / "logs/write_paper_index.log").unlink()
    done = project.snakemake()
    assert done.returncode == 1
    assert "The job ended before it began its log." in done.stderr and "Traceback" not in done.stderr
