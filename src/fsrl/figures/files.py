"""Figures on disk: whole or not at all, and the same bytes for the same figure.

No date, user or library version is written: a figure rebuilt from the same tables is the same file.
"""

import io
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from fsrl import arguments, files
from fsrl.figures.style import styled

# None leaves a field out. Matplotlib would write the time and its own version.
METADATA: dict[str, dict[str, str | None]] = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
}
DPI = 150  # of figures that show themselves


@styled()
def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PDF or PNG, by the ending of `path`; FsrlError for any other ending."""
    check_path(path)
    path = Path(path)
    with files.atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], metadata=METADATA[path.suffix])


def save_all(figure: Figure, folder: str | Path, name: str) -> None:
    """Write a figure in every format, as `{name}.pdf` and `{name}.png`, into a folder."""
    for ending in METADATA:
        save(figure, Path(folder) / f"{name}{ending}")


@styled()
def png(figure: Figure, dpi: float) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata=METADATA[".png"])
    return stream.getvalue()


def finished(figure: Figure, save_path: str | Path | None) -> Figure:
    """The figure, saved (.pdf or .png) where a path is given, and able to show itself in a notebook.

    IPython shows a Matplotlib figure only once pyplot has been imported and a backend chosen; figures made
    without pyplot, as here, work in any script and any thread, and so bring their own picture.
    """
    if save_path is not None:
        save(figure, save_path)
    figure._repr_png_ = partial(png, figure, DPI)  # type: ignore[attr-defined]
    return figure


def check_path(save_path: str | Path | None) -> None:
    """Raise FsrlError for a save_path that `finished` could not write to, before there is a figure."""
    if save_path is not None:
        arguments.ending(save_path, "figure", METADATA)
