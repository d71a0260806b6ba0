"""The forked snakemake of the tests plans, refuses and ends as the command does."""

import os
import re
from pathlib import Path

from tests.fixtures.project import Project, environment, planned


def told(text: str) -> list[str]:
    """The words of what a run says, in no order (jobs have none), less its own time."""
    return sorted(re.split(r"[\s,;]+", re.sub(r"(?m)^─+ Workflow start .*$", "", text)))


def test_a_fork_says_what_the_command_says(fresh: Project) -> None:
    forked, command = fresh.without_jobs("--dry-run"), fresh.really_snakemake("--dry-run")
    assert forked.returncode == command.returncode == 0
    assert forked.stdout == command.stdout == "" and told(forked.stderr) == told(command.stderr)
    assert planned(forked)["write_paper_index"] == 1


def test_a_fork_has_the_environment_and_the_library_of_its_project_alone(
    fresh: Project, tmp_path: Path
) -> None:
    project = fresh.copy(tmp_path / "project")
    with (project.folder / "workflow/settings.py").open("a") as file:
        file.write("\nimport os\nraise SystemExit(f\"{__file__} {os.getcwd()} {os.environ['WHO']}\")\n")
    refused = project.without_jobs("--dry-run", given=environment() | {"WHO": "it"})
    assert refused.returncode == 1
    folder = os.path.realpath(project.folder)
    assert refused.stderr.splitlines()[-1] == f"{folder}/workflow/settings.py {folder} it"
    assert fresh.without_jobs("--dry-run").returncode == 0
