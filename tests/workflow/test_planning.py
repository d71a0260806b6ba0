"""What is wrong with a study's settings is said in one line, with its key, before the first job."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.project import Project, environment

SAE = "blocks.0.hook_resid_pre"


def setting(*path: str, value: Any) -> Callable[[Path], None]:
    """Writes a setting into the config of the tiny study."""

    def edit(folder: Path) -> None:
        file = folder / "tiny/config.yaml"
        config = within = json.loads(file.read_text())
        for key in path[:-1]:
            within = within.setdefault(key, {})
        within[path[-1]] = value
        file.write_text(json.dumps(config))

    return edit


def moved(name: str, to: str) -> Callable[[Path], None]:
    return lambda folder: None if (folder / name).rename(folder / to) else None


def appended(text: bytes) -> Callable[[Path], None]:
    """Writes more into the project's own config."""

    def edit(folder: Path) -> None:
        with (folder / "config/config.yaml").open("ab") as file:
            file.write(text)

    return edit


def replaced(text: bytes) -> Callable[[Path], None]:
    return lambda folder: None if (folder / "config/config.yaml").write_bytes(text) else None


# How the project is changed, and what the line must hold.
FAULTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a section twice": (appended(b"\nrun: [tiny]\n"), ["config/config.yaml, line", "'run'", "twice"]),
    "a tab": (appended(b"\nnew:\n\tkey: 1\n"), ["config/config.yaml, line", "not YAML"]),
    "another encoding": (appended(b"# caf\xe9\n"), ["config/config.yaml", "UTF-8"]),
    "a list": (replaced(b"- run\n"), ["config/config.yaml", "holds no settings"]),
    "nothing": (replaced(b""), ["config/config.yaml", "holds no settings"]),
    "no figures": (
        setting("studies", "tiny", "figure_views", value=[]),
        ["studies.tiny.figure_views", "empty"],
    ),
    "no evaluation text": (
        moved("tiny/evaluation_text.txt", "tiny/elsewhere.txt"),
        ["studies.tiny.evaluation_text", "tiny/evaluation_text.txt is missing"],
    ),
    "a folder for a text": (
        setting("studies", "tiny", "evaluation_text", value="tiny"),
        ["studies.tiny.evaluation_text", "tiny is missing"],
    ),
    "no counts": (
        setting("studies", "tiny", "token_counts", value="tiny/counts"),
        ["studies.tiny.token_counts", "tiny/counts is missing"],
    ),
    "a window of the text that the model cannot read": (
        setting("nulls", "context", value=33),
        ["nulls.context", "33", "32 positions", "study tiny", "n_positions in config.json of tiny/model"],
    ),
    "a window of the effects that the model cannot read": (
        setting("effects", "context", value=1000),
        ["effects.context", "1000", "32 positions", "at most 32"],
    ),
    "a set without a member": (
        setting("token_sets", "extra", value={"mine": {"words": ["xylophone", "zebra"]}}),
        ["token_sets.extra", "study tiny", "mine", "none of its 2 words"],
    ),
    "a pattern that matches nothing": (
        setting("token_sets", "extra", value={"mine": {"regex": "zzz"}}),
        ["token_sets.extra", "study tiny", "mine", "'zzz' matches no token"],
    ),
    "a name that is taken": (
        setting("token_sets", "extra", value={"digit_start": {"regex": "a"}, "newline": {"regex": "a"}}),
        ["token_sets.extra", "'newline'", "taken"],
    ),
    "an SAE whose name is a wildcard": (
        moved(f"tiny/saes/{SAE}", "tiny/saes/{evil}"),
        ["studies.tiny.saes", "'{evil}'", "cannot be used"],
    ),
    "an SAE of 240 letters": (
        moved(f"tiny/saes/{SAE}", "tiny/saes/" + "a" * 240),
        ["studies.tiny.saes", "aaa", "at most 100"],
    ),
    "an SAE called as a folder of results": (
        moved(f"tiny/saes/{SAE}", "tiny/saes/nulls"),
        ["studies.tiny.saes", "'nulls'", "rename"],
    ),
    "a file of the model whose name is a wildcard": (
        lambda folder: (folder / "tiny/model/{evil}.json").write_text("{}") and None,
        ["studies.tiny", "tiny/model/{evil}.json", "braces", "rename"],
    ),
    "an SAE with a space": (
        moved(f"tiny/saes/{SAE}", "tiny/saes/my sae"),
        ["studies.tiny.saes", "'my sae'", "cannot be used"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_stops_the_plan_with_one_line(fresh: Project, tmp_path: Path, fault: str) -> None:
    project = fresh.copy(tmp_path / "project")
    edit, parts = FAULTS[fault]
    edit(project.folder)
    before = {path for path in project.folder.rglob("*") if ".snakemake" not in path.parts}
    done = project.without_jobs()
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "rror" in line]
    assert lines == [done.stderr.splitlines()[-1]]
    assert lines[0].startswith("error: config: ")
    assert [part for part in parts if part not in lines[0]] == [], lines[0]
    after = {path for path in project.folder.rglob("*") if ".snakemake" not in path.parts}
    assert {path for path in after - before if "__pycache__" not in path.parts} == set()


def test_what_other_studies_lack_stops_nobody(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    (project.folder / "tiny/evaluation_text.txt").unlink()
    for kind in ("results/models/tiny-model/unembedding.safetensors", "results/tiny/token_sets.parquet"):
        done = project.without_jobs("--dry-run", kind)
        assert done.returncode == 0, done.stderr


def test_sets_of_the_users_that_have_members_are_planned(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    extra = {"dogs": {"words": ["dog"]}, "numbers": {"regex": r"^ ?\d+$"}}
    setting("token_sets", "extra", value=extra)(project.folder)
    done = project.without_jobs("--dry-run", given=environment())
    assert done.returncode == 0, done.stderr
