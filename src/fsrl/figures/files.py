"""Figures on disk: whole or not at all, and the same bytes for the same figure. And figures on the screen.

No date, user or library version is written to a PDF, PNG or SVG: a figure rebuilt from the same tables is the
same file. Figures are made without pyplot, so that they work in any script and any thread, and are shown
without it where a notebook shows them: `finished` figures appear in the cell that made them, each once.
"""

import io
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib import get_backend, rc_context, rcParams
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends import backend_registry
from matplotlib.figure import Figure

from fsrl import arguments, files
from fsrl.errors import FsrlError
from fsrl.figures.style import styled
from fsrl.progress import in_notebook

# What the workflow writes; None leaves a field out. Matplotlib would write the time and its own version.
METADATA: dict[str, dict[str, str | None]] = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
}
_METADATA_OF_OTHERS: dict[str, dict[str, str | None]] = {
    ".svg": {"Date": None, "Creator": None},
    ".svgz": {"Date": None, "Creator": None},
    ".eps": {"Creator": None},
    ".ps": {"Creator": None},
}
_ALL = [f".{ending}" for ending in sorted(FigureCanvasBase.get_supported_filetypes())]
# Endings of every format that Matplotlib writes, those of the workflow first.
FORMATS = tuple(dict.fromkeys([*METADATA, *_METADATA_OF_OTHERS, *_ALL]))
DPI = 150  # of figures that show themselves


@styled()
def save(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format that the ending of `path` names; FsrlError for one that there is not."""
    check_path(path)
    ending = Path(path).suffix.lower()
    # Else an SVG's names are drawn at random.
    small = _small_fonts() if ending == ".pdf" else nullcontext()
    with files.atomic_write(path) as temporary, rc_context({"svg.hashsalt": "fsrl"}), small:
        figure.savefig(temporary, format=ending[1:], metadata=(METADATA | _METADATA_OF_OTHERS).get(ending))


@contextmanager
def _small_fonts() -> Iterator[None]:
    """Fonts go into a PDF without their tables of ligatures and kerning, which nothing reads there.

    Matplotlib places every glyph by itself, and has fontTools carry these tables along: a tenth of a second
    for each of a figure's two or three fonts. It says what to drop by no other setting.
    """
    from fontTools.subset import Options  # of matplotlib; where no PDF is written nobody waits for it

    known = Options._drop_tables_default
    Options._drop_tables_default = [*known, "GDEF", "GPOS", "GSUB", "kern"]
    try:
        yield
    finally:
        Options._drop_tables_default = known


def save_all(figure: Figure, folder: str | Path, name: str) -> None:
    """Write a figure in the workflow's formats, as `{name}.pdf` and `{name}.png`, into a folder."""
    for ending in METADATA:
        save(figure, Path(folder) / f"{name}{ending}")


@styled()
def png(figure: Figure, dpi: float) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata=METADATA[".png"])
    return stream.getvalue()


def check_path(save_path: str | Path | None) -> None:
    """Raise FsrlError for a save_path that `finished` could not write to, before there is a figure."""
    if save_path is None:
        return
    arguments.ending(save_path, "figure", FORMATS)
    if Path(save_path).suffix.lower() == ".pgf" and not shutil.which(rcParams["pgf.texsystem"]):
        raise FsrlError(f"{save_path}: .pgf needs {rcParams['pgf.texsystem']}, which is not here; write .pdf")


def finished(figure: Figure, save_path: str | Path | None) -> Figure:
    """The figure, saved where a path is given, and able to show itself: in a notebook and by `figure.show()`.

    A notebook shows what the last line of a cell gives; a figure that no line showed is shown at the end of
    its cell, as pyplot's are.
    """
    if save_path is not None:
        save(figure, save_path)
    shown: Any = figure  # what IPython and people ask a figure for
    shown._repr_png_ = partial(png, figure, DPI)
    shown._ipython_display_ = shown.show = partial(show, figure)
    if in_notebook():
        _at_the_end_of_the_cell(figure)
    return figure


def show(figure: Figure, warn: bool = True) -> None:
    """Show a figure: in a notebook, or in a window of Matplotlib's backend (which a script has to keep open).

    warn: say so where there is neither.
    """
    if in_notebook():
        display(figure)
        return
    backend = get_backend()
    if figure.canvas.manager is None:
        # Not among pyplot's figures, which it would keep for ever.
        backend_registry.load_backend_module(backend).FigureCanvas.new_manager(figure, 0)
    Figure.show(figure, warn=False)
    if warn and not getattr(type(figure.canvas), "required_interactive_framework", None):
        warnings.warn(
            f"no window can be shown here (Matplotlib's backend is {backend}); give save_path=, or "
            "call savefig",
            stacklevel=2,
        )


def display(figure: Figure, **settings: Any) -> None:
    """Show a figure in a notebook at once and not at the end of the cell; settings: of IPython's Image."""
    from IPython.display import Image
    from IPython.display import display as show_in_cell

    _WAITING[:] = [waiting for waiting in _WAITING if waiting is not figure]
    dpi = settings.pop("dpi", DPI)
    alt = figure.get_suptitle() or None
    show_in_cell(Image(data=png(figure, dpi), format="png", alt=alt, **settings))


_WAITING: list[Figure] = []  # made in the cell that runs, and not shown so far


def _at_the_end_of_the_cell(figure: Figure) -> None:
    from IPython import get_ipython

    events = get_ipython().events
    if _show_waiting not in events.callbacks["post_execute"]:
        events.register("post_execute", _show_waiting)
    _WAITING.append(figure)


def _show_waiting() -> None:
    from IPython.display import display as show_in_cell

    for figure in _WAITING.copy():
        show_in_cell(figure)  # as setup of the notebook has it
    _WAITING.clear()
