"""Notebooks in jupytext's percent format, executed in a kernel of their own: the same bytes from every run.

The kernel is the running interpreter and imports the library that this module belongs to; nothing of the
user's Jupyter or IPython is read or written (configuration, kernels, history), and keys and tokens of the
environment are kept from it. It speaks to us through files (ipc), so no network is needed, except where the
name of the folder for temporary files is too long for that (then through the loopback interface).

What differs from run to run is left out: times, random cell ids, versions. What a cell writes to stderr
(warnings, progress bars) goes to our log. Outputs that name a folder of this machine or an address in memory
are refused.
"""

import ast
import logging
import os
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsrl import files
from fsrl.errors import FsrlError

SECONDS = 600  # a cell that takes longer is stopped
START_SECONDS = 300  # a machine may be busy
LONGEST_IPC = 80  # characters: a Unix socket's path must stay below about 104
SECRET = re.compile(r"API_KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LINK = re.compile(r"\[([^\]]+)\]\(([\w-]+)\.ipynb\)")
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}

logger = logging.getLogger(__name__)


def read(path: str | Path) -> Any:
    """The notebook (nbformat 4.5) of a file in percent format, cells numbered, no outputs.

    FsrlError where the file is missing or has no cell of code.
    """
    import jupytext

    path = Path(path)
    if not path.is_file():
        raise FsrlError(f"{path}: no such notebook")
    notebook = jupytext.read(path, fmt="py:percent")
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        raise FsrlError(f"{path}: no cell of code; is it in jupytext's percent format (# %%)?")
    notebook.metadata = _node({"kernelspec": KERNEL, "language_info": LANGUAGE})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number}"
    return notebook


def execute(
    path: str | Path,
    *,
    folder: str | Path = ".",
    parameters: Mapping[str, str] | None = None,
    beside: Collection[str] | None = None,
) -> Any:
    """The notebook of a percent file with its outputs, executed in `folder` (the repository's root).

    parameters: what its cell tagged `parameters` sets, set anew in a cell after it, as papermill does;
    beside: the notebooks that lie beside it, links to others become text; all if None.

    Raises FsrlError, naming the cell, where one fails, takes too long, or shows a folder of this machine or
    an address in memory; where parameters are given and not one cell is tagged.
    """
    notebook, folder = read(path), Path(folder).resolve()
    if parameters:
        _set_parameters(notebook, Path(path), parameters)
    if beside is not None:
        _unlink_others(notebook, beside)
    with _apart() as (scratch, environment):
        _run(notebook, Path(path), folder, scratch, environment)
    private = _private(folder)
    for number, cell in enumerate(notebook.cells, 1):
        _tidy(cell, f"{path}, cell {number}", private)
    notebook.metadata = _node({"kernelspec": KERNEL, "language_info": LANGUAGE})
    return notebook


def _set_parameters(notebook: Any, path: Path, parameters: Mapping[str, str]) -> None:
    """Insert a cell after the one tagged `parameters`. What the notebook does not ask for is left out."""
    from nbformat.v4 import new_code_cell

    tagged = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise FsrlError(f"{path}: {len(tagged)} cells are tagged parameters, and one is needed")
    asked = {
        node.id
        for node in ast.walk(ast.parse(notebook.cells[tagged[0]].source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    lines = [f"{name} = {value!r}" for name, value in parameters.items() if name in asked]
    cell = new_code_cell("\n".join(["# Parameters", *lines]), id="parameters")
    notebook.cells.insert(tagged[0] + 1, cell)


def _unlink_others(notebook: Any, beside: Collection[str]) -> None:
    def linked(found: re.Match[str]) -> str:
        return found[0] if found[2] in beside else found[1]

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(linked, cell.source)


def text(notebook: Any) -> str:
    """The notebook as the JSON of an .ipynb file. Raises FsrlError where it is not a valid notebook."""
    import nbformat

    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        raise FsrlError(f"notebook: not valid ({str(error).splitlines()[0]})") from error
    return nbformat.writes(notebook) + "\n"


@contextmanager
def _apart() -> Iterator[tuple[Path, dict[str, str]]]:
    """A scratch folder and the environment of a kernel that reads and writes nothing of the user's."""
    with files.temporary_folder("notebook") as scratch:
        name = str(scratch)
        environment = {key: value for key, value in os.environ.items() if not SECRET.search(key)}
        environment |= {
            f"JUPYTER_{place}": f"{name}/{place}" for place in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
        }
        library = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]
        environment |= {
            "IPYTHONDIR": f"{name}/ipython",
            "PYTHONPATH": os.pathsep.join(filter(None, library)),
            "PYTHONHASHSEED": "0",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "MPLBACKEND": "agg",
            "TQDM_DISABLE": "1",
            # A notebook never asks the network; without this the hub's client might try.
            "HF_HUB_OFFLINE": "1",
        }
        yield scratch, environment


def _run(notebook: Any, path: Path, folder: Path, scratch: Path, environment: dict[str, str]) -> None:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    reached = [0]
    manager = AsyncKernelManager(
        kernel_name=KERNEL["name"],
        # No folders of kernels: what is left is the running interpreter's own.
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        transport="ipc" if len(str(scratch)) <= LONGEST_IPC else "tcp",
        connection_file=str(scratch / "kernel.json"),
    )
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=SECONDS,
        startup_timeout=START_SECONDS,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--HistoryManager.enabled=False"],
        on_cell_start=lambda cell, cell_index: reached.append(cell_index + 1),
    )
    try:
        client.execute(cleanup_kc=True, cwd=str(folder), env=environment)
    except CellExecutionError as error:
        logger.error("%s", COLOUR.sub("", error.traceback))
        # The traceback of interest, the cell's, is in the log; ours would repeat it.
        raise FsrlError(f"{path}, cell {reached[-1]}: {error.ename}: {error.evalue}") from None
    except CellTimeoutError as error:
        raise FsrlError(f"{path}, cell {reached[-1]}: took more than {SECONDS} s; is it stuck?") from error
    except DeadKernelError as error:
        raise FsrlError(f"{path}, cell {reached[-1]}: the kernel ended; was there enough memory?") from error


def _tidy(cell: Any, where: str, private: list[str]) -> None:
    """Leave out what differs from run to run; refuse what nobody else should read."""
    cell.metadata = _node({})
    if cell.cell_type != "code":
        return
    kept = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stderr":
            logger.info("%s: %s", where, output.text.rstrip())
            continue
        for shown in _texts(output):
            found = next((name for name in private if name in shown), None) or ADDRESS.search(shown)
            if found:
                what = found if isinstance(found, str) else found[0]
                raise FsrlError(f"{where}: its output holds {what!r}, which differs from machine to machine")
        kept.append(output)
    cell.outputs = kept


def _texts(output: Any) -> list[str]:
    """What an output says, images left out."""
    if output.output_type == "stream":
        return [output.text]
    data = output.get("data", {})
    return [str(value) for kind, value in data.items() if not kind.startswith("image/")]


def _private(folder: Path) -> list[str]:
    """How paths of this machine begin: the folder itself, home, temporary files, the interpreter's."""
    places = [folder, Path.home(), Path(tempfile.gettempdir()), Path(sys.prefix)]
    return [f"{place}/" for place in places if place != Path("/")] + [str(folder)]


def _node(content: dict[str, Any]) -> Any:
    from nbformat import from_dict

    return from_dict(content)
