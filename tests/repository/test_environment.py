"""The environments of pip and of conda are one: the versions of requirements.lock."""

import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from fsrl.latex import document as tex_document

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
PIN = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")


def canonical(name: str) -> str:
    """A package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str], folder: Path) -> dict[str, str]:
    """Name -> version of pip's requirements, files that they name with -r included."""
    found = {}
    for line in map(str.strip, lines):
        if line.startswith("-r "):
            found |= pins((folder / line[3:].strip()).read_text().splitlines(), folder)
        elif line and not line.startswith(("#", "-e ")):
            match = PIN.fullmatch(line)
            assert match, f"not pinned to one version: {line}"
            found[canonical(match[1])] = match[2]
    return found


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    return pins(LOCK.read_text().splitlines(), ROOT)


@pytest.fixture(scope="module")
def conda() -> list:
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def test_conda_gives_the_versions_of_the_lock(conda: list, locked: dict[str, str]) -> None:
    (by_pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    assert pins(by_pip, ROOT) == locked
    assert "-e ." in by_pip
    # A Python package from conda would have a version of conda's choice.
    names = {re.split(r"[=<> ]", entry)[0] for entry in conda if isinstance(entry, str)}
    assert names & locked.keys() == set()


def test_conda_brings_what_pip_cannot(conda: list) -> None:
    names = {re.split(r"[=<> ]", entry)[0] for entry in conda if isinstance(entry, str)}
    assert {"python", "pip", "poppler", "tectonic"} <= names
    # Programs without LaTeX: they would be found, and fail.
    assert "texlive-core" not in names


def test_one_python(conda: list) -> None:
    (version,) = (entry.split("=")[1] for entry in conda if str(entry).startswith("python="))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == f">={version}"
    assert f"for Python {version}." in LOCK.read_text()
    assert f"Python {version}" in (ROOT / "README.md").read_text()


def test_the_lock_holds_every_requirement(locked: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    for requirement in wanted:
        name, version = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(.*)", requirement).groups()
        assert canonical(name) in locked, f"pyproject.toml asks for {name}; run `make lock`"
        if version.startswith("=="):
            assert locked[canonical(name)] == version[2:]


def test_every_python_that_is_enough_can_install_the_lock(locked: dict[str, str]) -> None:
    """Debian 12 has 3.11.2, and some packages want a later one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first = project["requires-python"].removeprefix(">=") + ".0"
    wants = {name: metadata.metadata(name).get("Requires-Python") for name in locked}
    late = {name: want for name, want in wants.items() if want and not SpecifierSet(want).contains(first)}
    assert not late, f"these want a later Python than {first}: pin earlier versions in requirements.lock"


def test_triton_is_that_of_the_locked_torch(locked: dict[str, str]) -> None:
    """Which one that is says Torch's source alone: to be looked up anew with every Torch."""
    text = (ROOT / "requirements-triton.lock").read_text()
    assert f"torch {locked['torch']}:" in text
    (requirement,) = [line for line in text.splitlines() if not line.startswith("#")]
    assert PIN.fullmatch(requirement.split(";")[0])[1] == "triton"
    assert "triton" not in locked, "a Torch for CPUs does without"


def test_files_that_share_a_costly_fixture_run_together() -> None:
    """Every file that asks for one stands in the list by which pytest-xdist is told, and no other does."""
    from tests.conftest import TOGETHER

    tests = ROOT / "tests"
    for fixture, files in TOGETHER.items():
        # (A file may have a fixture of its own by this name.)
        asks = re.compile(rf"\bdef \w+\([^)]*\b{fixture}\b[^)]*\)|getfixturevalue\(\"{fixture}\"\)")
        found = {
            str(path.relative_to(tests))
            for path in tests.rglob("test_*.py")
            if asks.search(path.read_text()) and f"def {fixture}(" not in path.read_text()
        }
        assert found == set(files), fixture


def test_files_whose_forks_are_of_one_process_run_together() -> None:
    from tests.conftest import SAME_PROCESS, TOGETHER

    tests = ROOT / "tests"
    forks = re.compile(r"\.snakemake\(|\bclients\.run\((?!.*fork=False)|forked_jobs\.python\(")
    found = {
        str(path.relative_to(tests))
        for path in tests.rglob("test_*.py")
        # Slow files run one after the other in a single process.
        if forks.search(text := path.read_text()) and not re.search(r"^pytestmark.*slow", text, re.M)
    }
    listed = [file for groups in (TOGETHER, SAME_PROCESS) for files in groups.values() for file in files]
    assert found <= set(listed) and len(listed) == len(set(listed))


DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def debian(text: str) -> set[str]:
    """The packages of `apt-get install` in a text without continued lines."""
    [listed] = re.findall(r"apt-get install ([^&`\n]*)", text)
    return {name for name in listed.split() if not name.startswith("-")}


def test_the_container_has_latex_and_the_commands_of_the_makefile() -> None:
    assert debian(tex_document.HOW_TO_GET) | {"make", "gcc", "libc6-dev"} == debian(DOCKERFILE)
    commands = re.findall(r"^RUN make (\S+)$", DOCKERFILE, re.M) + re.findall(r'"make", "(\w+)"', DOCKERFILE)
    assert commands == [".venv/.ready", "reproduce"]
    for command in commands:
        subprocess.run(["make", "--dry-run", command], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("apt-cache") is None, reason="no apt-cache: not Debian")
def test_the_container_s_packages_exist() -> None:
    for name in debian(DOCKERFILE):
        shown = subprocess.check_output(["apt-cache", "policy", name], text=True)
        assert re.search(r"Candidate: \d", shown), f"{name} (after apt-get update): {shown or 'unknown'}"
