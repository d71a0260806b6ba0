"""Bars of long work: in a kernel of Jupyter and on a terminal, and silent in jobs, whose stderr is a file."""

import os
import pty
import subprocess
import sys
import termios

import pytest

from fsrl.notebooks import run as notebooks

CODE = """
import warnings
warnings.simplefilter("ignore")  # tqdm's, where Jupyter has no widgets
from fsrl.progress import bar
assert list(bar(iter("abc"), "letters", show=SHOW, total=3)) == ["a", "b", "c"]
"""


def run(show, stderr):
    subprocess.run([sys.executable, "-c", CODE.replace("SHOW", str(show))], check=True, stderr=stderr)


@pytest.mark.parametrize("show", [True, False])
def test_a_job_s_log_has_no_bar(tmp_path, show):
    with (tmp_path / "log").open("w") as log:
        run(show, log)
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.parametrize("show", [True, False])
def test_a_terminal_shows_one(show):
    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (24, 80))
        run(show, theirs)
        os.write(theirs, b"end")
        shown = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "letters: 100%" in shown if show else shown == "end"


@pytest.mark.parametrize(
    ("show", "off", "expected"), [(True, {}, True), (False, {}, False), (True, {"TQDM_DISABLE": "1"}, False)]
)
def test_a_notebook_shows_one_unless_the_environment_says_no(
    tmp_path, monkeypatch, caplog, show, off, expected
):
    """In a real kernel, whose stderr is no terminal; what it writes there goes to the log of ours."""
    path = tmp_path / "notebook.py"
    path.write_text(f"# %%\n{CODE.replace('SHOW', str(show))}")
    own = notebooks._apart

    @notebooks.contextmanager
    def apart():
        with own() as (scratch, environment):
            del environment["TQDM_DISABLE"]
            yield scratch, environment | off

    monkeypatch.setattr(notebooks, "_apart", apart)
    with caplog.at_level("INFO"):
        notebooks.execute(path, folder=tmp_path)
    assert ("letters: 100%" in caplog.text) == expected
