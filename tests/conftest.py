"""Fixtures that several folders of tests share."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Before Torch is loaded, which reads it. Matrices of tests are small and the cores are shared (with another
# worker, with jobs of the workflow): threads that spin while they wait take most of the time of both.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What is imported and collected stays: going through it for garbage takes a tenth of the time.
gc.disable()
# What one test draws is not another's, nor in anybody's ~/.cache (fsrl.nulls.cache).
os.environ["FSRL_NULLS_CACHE"] = "off"

from tests.fixtures import shape_checks

# Before anything of fsrl is imported.
shape_checks.install()

from tests.fixtures import tiny_study as tiny
from tests.fixtures.hosted_study import Hosted, hosting
from tests.fixtures.project import Project, lay_out
from tests.hub import layouts
from tests.hub.layouts import HubTree

ROOT = Path(__file__).parents[1]
# No example of a property test has a time to keep: a busy machine is no fault of the code.
settings.register_profile("fsrl", deadline=None)
settings.load_profile("fsrl")
# Files of tests that share a fixture which takes long to make: every worker of pytest-xdist that met one of
# them would make its own.
TOGETHER = {
    "built": [
        "workflow/test_arxiv.py",
        "workflow/test_cluster.py",
        "workflow/test_dag.py",
        "workflow/test_dataset.py",
        "workflow/test_local_explanations.py",
        "workflow/test_predictions.py",
        "workflow/test_model_folders.py",
        "workflow/test_report.py",
        "workflow/test_tables.py",
        "workflow/test_terminal.py",
    ],
    "served": ["hub/test_study.py", "workflow/test_explanations_rule.py"],
    "built_mini": [
        "notebooks/test_executed.py",
        "numbers/test_numbers.py",
        "workflow/test_mini.py",
        "workflow/test_mini_effects.py",
        "workflow/test_mini_findings.py",
        "workflow/test_one_answer.py",
        "workflow/test_paper.py",
        "workflow/test_same_numbers.py",
    ],
}
# Other files of a quarter of a minute or more.
LONG = [
    f"tests/{file}"
    for file in (
        "browser/test_site.py",
        "claims/test_claims.py",
        "figures/test_figures.py",
        "test_cuda_placement.py",
        "workflow/test_heavy_scripts.py",
    )
]
# Files whose forks are of the same process as those of a fixture (tests/fixtures/forked_jobs.py).
SAME_PROCESS = {
    "built": [
        "workflow/test_forked_jobs.py",
        "workflow/test_locks.py",
        "workflow/test_ready_studies.py",
        "workflow/test_trained_tokens.py",
        "workflow/test_transcoders.py",
    ],
    "served": ["hub/test_adapter.py", "hub/test_catalogue.py", "hub/test_fetch.py", "hub/test_server.py"],
}
GROUPS = {
    f"tests/{file}": group
    for groups in (TOGETHER, SAME_PROCESS)
    for group, files in groups.items()
    for file in files
}


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file run in one worker, and so do files that share a costly fixture.

    (Its own `--dist loadgroup` marks tests in a field that pytest 9.2 no longer reads.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFixture(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return GROUPS.get(file, file)

    return ByFixture(config, log)


def pytest_collection_finish() -> None:
    """From here on there is garbage; what there is now is none."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Costly groups and files come first, so that no worker is left with them when the others are done."""

    def place(item: pytest.Item) -> int:
        file = item.nodeid.split("::")[0]
        return 0 if file in GROUPS else 1 if file in LONG else 2

    items.sort(key=place)


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random study in the layouts that users have; read it, don't change it."""
    folder = tmp_path_factory.mktemp("study") / "tiny"
    tiny.build(folder)
    return folder


@pytest.fixture(scope="session")
def fresh(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with the tiny study and nothing built; a test that changes it takes a copy."""
    return lay_out(tmp_path_factory.mktemp("fresh") / "project", tiny_study)


@pytest.fixture(scope="session")
def built(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with everything built; a test that changes it takes a copy."""
    project = fresh.copy(tmp_path_factory.mktemp("built") / "project")
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture(scope="session")
def hub_tree(tmp_path_factory: pytest.TempPathFactory) -> HubTree:
    """Every repository of the catalogue, written once; read it, don't change it."""
    return layouts.write_hub(tmp_path_factory.mktemp("hub") / "tree")


@pytest.fixture(scope="session")
def served(fresh: Project, hub_tree: HubTree, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A study that a hub and Neuronpedia host, built; a test that changes its project takes a copy."""
    with hosting(fresh, hub_tree, tmp_path_factory.mktemp("hosted")) as built:
        yield built


@pytest.fixture(scope="session")
def built_mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default studies, built by the one command of the README in a copy of the project; minutes.

    No test's limit of time holds for a fixture (pyproject.toml); this one has half an hour.
    """
    project = tmp_path_factory.mktemp("mini") / "project"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, project / name)
    subprocess.run([sys.executable, "-m", "snakemake", "--cores", "8"], cwd=project, check=True, timeout=1800)
    return project
