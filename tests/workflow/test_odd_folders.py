"""A checkout may lie in a folder of any name, and a job that was killed leaves nothing for ever."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.project import Project, environment

LIGHT = "paper/generated/speed.tex"  # what a job makes that reads no study


@pytest.mark.parametrize("name", ["it's $HOME", "[a] (b)*?", 'a "quoted" {name} `é`; & #'])
def test_scripts_run_by_an_interpreter_in_the_folder(fresh: Project, tmp_path: Path, name: str) -> None:
    project = fresh.copy(tmp_path / name)
    (project.folder / ".venv").symlink_to(sys.prefix)
    interpreter = str(project.folder / ".venv/bin/python")
    left = project.folder / "results/tiny/.moments.parquet.4194305.tmp"  # beyond the ids of processes
    left.parent.mkdir(parents=True)
    left.touch()
    done = subprocess.run(
        [interpreter, *project.command(LIGHT)[1:]],
        cwd=project.folder,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert "tabular" in (project.folder / LIGHT).read_text()
    assert not left.exists()
