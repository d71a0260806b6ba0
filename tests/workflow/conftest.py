"""A copy of the project that holds the tiny study, and what is built in it."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "workflow", "config", "profiles", "src", "paper")
# What the paper says of speed and of the embedded model.
SAVED = ("benchmarks/results", "data/mini/record.json")


@dataclass(frozen=True)
class Project:
    """A working directory with the project's files and the tiny study in `tiny/`."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "snakemake",
            "--cores",
            "8",
            *arguments,
            "--configfile",
            "tiny/config.yaml",
        ]

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run snakemake on the tiny study; stdout holds nothing that a test needs, stderr all."""
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, capture_output=True, text=True, env=environment()
        )

    def plan(self) -> dict[str, int]:
        """The jobs that a run would start, as {rule: count}, without the target `all`."""
        done = self.snakemake("--dry-run")
        assert done.returncode == 0, done.stderr
        table = re.search(r"^job +count\n[- ]+\n(.*?)^total", done.stdout + done.stderr, re.M | re.S)
        counts = dict(line.split() for line in table[1].splitlines()) if table else {}
        return {rule: int(count) for rule, count in counts.items() if rule != "all"}

    def outputs(self) -> dict[str, bytes]:
        """The bytes of every table, weight file, figure and the paper; benchmarks hold times: left out."""
        places = ("results", "figures", "paper/generated")
        files = [path for top in places for path in (self.folder / top).rglob("*")]
        files += [self.folder / "paper/main.pdf"]
        names = {str(path.relative_to(self.folder)): path for path in files if path.is_file()}
        return {name: path.read_bytes() for name, path in names.items() if "benchmarks" not in name}

    def copy(self, folder: Path) -> "Project":
        """The same project elsewhere, with the times of its files."""
        shutil.copytree(self.folder, folder)
        return Project(folder)


def environment() -> dict[str, str]:
    """The environment without what would point a copy of the project at another copy's library."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="session")
def fresh(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with the tiny study and nothing built; a test that changes it takes a copy."""
    folder = tmp_path_factory.mktemp("fresh") / "project"
    folder.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "generated", "main.pdf")
    for part in (*PARTS, *SAVED):
        source = ROOT / part
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=ignore)
        else:
            shutil.copy2(source, folder / part)
    shutil.copytree(tiny_study, folder / "tiny")
    return Project(folder)


@pytest.fixture(scope="session")
def built(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with everything built; a test that changes it takes a copy."""
    project = fresh.copy(tmp_path_factory.mktemp("built") / "project")
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    return project
