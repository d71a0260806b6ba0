"""Fixtures that several folders of tests share."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fixtures import tiny_study as tiny

ROOT = Path(__file__).parents[1]
# No example of a property test has a time to keep: a busy machine is no fault of the code.
settings.register_profile("fsrl", deadline=None)
settings.load_profile("fsrl")


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random study in the layouts that users have; read it, don't change it."""
    folder = tmp_path_factory.mktemp("study") / "tiny"
    tiny.build(folder)
    return folder


@pytest.fixture(scope="session")
def built_mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default studies, built by the command of the README in a copy of the project; minutes."""
    project = tmp_path_factory.mktemp("mini") / "project"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, project / name)
    subprocess.run([sys.executable, "-m", "snakemake", "--cores", "8"], cwd=project, check=True)
    return project
