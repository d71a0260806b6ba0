"""Every notebook, run by the workflow on the embedded study: complete, alone, and from nothing undeclared."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

from fsrl.notebooks import run as notebook_run
from tests.notebooks.sources import NOTEBOOKS

pytestmark = pytest.mark.slow
each = pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])


@pytest.fixture(scope="module")
def inputs(built_mini: Path) -> dict[str, list[str]]:
    """The inputs of each notebook's job, as Snakemake lists them."""
    # Snakemake's own logger lists them, that of the project's profile does not.
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "none", "--cores", "1", "--dry-run"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*command, "--forcerun", "run_notebook", "--", "notebooks"],
        cwd=built_mini,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    jobs = re.findall(
        r"rule run_notebook:\n    input: (.+)\n    output: results/notebooks/(\w+)\.html",
        done.stdout + done.stderr,
    )
    return {name: listed.split(", ") for listed, name in jobs}


@each
def test_every_cell_ran_and_the_notebook_is_valid(built_mini: Path, name: str) -> None:
    notebook = nbformat.read(built_mini / f"results/notebooks/{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = [output.output_type for cell in code for output in cell.outputs]
    assert "error" not in kinds
    figures = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    assert figures and all(output.metadata["image/png"]["alt"] for output in figures)


@each
def test_page_and_notebook_name_no_folder_and_ask_for_nothing(built_mini: Path, name: str) -> None:
    page = (built_mini / f"results/notebooks/{name}.html").read_text()
    stored = json.loads((built_mini / f"results/notebooks/{name}.ipynb").read_text())
    texts = [page, json.dumps([cell.get("outputs") for cell in stored["cells"]])]
    for text in texts:
        for place in (built_mini, Path.home(), Path(tempfile.gettempdir())):
            assert f"{place}/" not in text
        assert not re.search(r"at 0x[0-9a-f]{6}", text)
    asked = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"(?!data:)([^\"]*)", page)
    assert asked == []
    assert "<script" not in page
    assert "$$" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.S), "a formula that was not set"


@each
def test_from_its_inputs_alone_it_gives_the_same_bytes(
    built_mini: Path, inputs: dict[str, list[str]], name: str, tmp_path: Path
) -> None:
    """Run where nothing but the job's inputs lies, beside the config whose schemes are its params."""
    for path in [*inputs[name], "Snakefile", "config/config.yaml"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built_mini / path, tmp_path / path)
    notebook = notebook_run.execute(tmp_path / f"notebooks/{name}.py", folder=tmp_path)
    assert notebook_run.text(notebook) == (built_mini / f"results/notebooks/{name}.ipynb").read_text()
