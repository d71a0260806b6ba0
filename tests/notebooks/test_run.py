"""Notebooks in a kernel of their own: the same bytes every time, nothing of the machine in them."""

import json
import logging
from pathlib import Path

import matplotlib.font_manager  # makes the list of fonts where there is none yet
import pytest

from fsrl.errors import FsrlError
from fsrl.notebooks import run as notebook_run
from tests.notebooks.sources import SAMPLE, written


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path, list[str]]:
    """The sample's .ipynb from two runs in two folders, the home it had, and what was logged."""
    home, texts, records = tmp_path_factory.mktemp("home"), [], []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    notebook_run.logger.addHandler(handler)
    notebook_run.logger.setLevel(logging.INFO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        # With this process's list of fonts: making one takes seconds, and many are said.
        patch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())
        patch.setenv("NEURONPEDIA_API_KEY", "sk-not-for-notebooks")
        for name in ("one", "two"):
            folder = tmp_path_factory.mktemp(name)
            notebook = notebook_run.execute(written(folder, SAMPLE), folder=folder)
            texts.append(notebook_run.text(notebook))
    notebook_run.logger.removeHandler(handler)
    return texts, home, records


def test_two_runs_give_the_same_bytes(runs: tuple[list[str], Path, list[str]]) -> None:
    first, second = runs[0]
    assert first == second


def test_outputs_are_kept_and_what_went_to_stderr_is_logged(runs: tuple[list[str], Path, list[str]]) -> None:
    cells = json.loads(runs[0][0])["cells"]
    said, table, figure = (cell["outputs"] for cell in cells[1:])
    # The key of the environment is kept from the kernel.
    assert [output["text"] for output in said] == [["said None\n"]]
    assert "&lt;script&gt;" in "".join(table[0]["data"]["text/html"])
    assert figure[0]["metadata"]["image/png"] == {"alt": "one panel", "width": 910}
    assert [line.split(": ", 1)[1] for line in runs[2]] == ["a warning", "a warning"]
    assert "sk-not" not in runs[0][0]


def test_ids_are_numbers_and_no_time_is_stored(runs: tuple[list[str], Path, list[str]]) -> None:
    stored = json.loads(runs[0][0])
    assert [cell["id"] for cell in stored["cells"]] == ["cell-1", "cell-2", "cell-3", "cell-4"]
    assert all(cell["metadata"] == {} for cell in stored["cells"])
    assert "version" not in stored["metadata"]["language_info"]


def test_nothing_of_the_user_s_jupyter_is_written(runs: tuple[list[str], Path, list[str]]) -> None:
    left = [path for path in runs[1].iterdir() if path.name in (".ipython", ".jupyter", ".local")]
    assert left == []


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("a = 1\nb = a / 0", "cell 2: ZeroDivisionError: division by zero"),
        ("import os\nprint(os.getcwd())", "cell 2: its output holds"),
        ("object()", "cell 2: its output holds 'at 0x"),
    ],
)
def test_a_failing_cell_and_private_outputs_are_refused(cell: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"# %% [markdown]\n# # Title\n\n# %%\n{cell}\n")
    with pytest.raises(FsrlError) as raised:
        notebook_run.execute(path, folder=tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FsrlError, match="no such notebook"):
        notebook_run.read(tmp_path / "none.py")
    with pytest.raises(FsrlError, match="no cell of code"):
        notebook_run.read(written(tmp_path, "# %% [markdown]\n# Only text\n"))


TOLD = """# %% [markdown]
# # Title
#
# [One](one.ipynb) and [two](two.ipynb), [a section](#Section).

# %% tags=["parameters"]
STUDY, MODEL = "mini", "mini-model"

# %%
print(STUDY, MODEL)
"""


def test_parameters_are_set_after_the_tagged_cell_and_absent_notebooks_are_not_linked(tmp_path: Path) -> None:
    path = written(tmp_path, TOLD)
    told = {"STUDY": "it's another", "OTHER": "not asked for"}
    cells = notebook_run.execute(path, folder=tmp_path, parameters=told, beside=["one"]).cells
    assert cells[2].source == '# Parameters\nSTUDY = "it\'s another"'
    assert cells[3].outputs[0].text == "it's another mini-model\n"
    assert "[One](one.ipynb) and two, [a section](#Section)" in cells[0].source
    assert len({cell.id for cell in cells}) == 4


def test_parameters_without_a_cell_for_them_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TOLD.replace(' tags=["parameters"]', ""))
    with pytest.raises(FsrlError, match="0 cells are tagged parameters"):
        notebook_run.execute(path, folder=tmp_path, parameters={"STUDY": "another"})
