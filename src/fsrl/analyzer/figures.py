"""Figures of a feature analyzer: what a notebook and a headless script both need of them."""

import io
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from fsrl import arguments
from fsrl.figures import files as figure_files
from fsrl.figures.style import styled

DPI = 150


def finished(figure: Figure, save_path: str | Path | None) -> Figure:
    """The figure, saved (.pdf or .png) where a path is given, and able to show itself in a notebook.

    IPython shows a Matplotlib figure only once pyplot has been imported and a backend chosen; figures made
    without pyplot, as here, work in any script and any thread, and so bring their own picture.
    """
    if save_path is not None:
        figure_files.save(figure, save_path)
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def check_path(save_path: str | Path | None) -> None:
    """Raise FsrlError for a save_path that `finished` could not write to, before there is a figure."""
    if save_path is not None:
        arguments.require(
            arguments.is_path(save_path),
            "figure",
            "save_path",
            save_path,
            "give a path that ends in .pdf or .png",
        )
        figure_files.check_ending(save_path)


@styled()
def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata=figure_files.METADATA[".png"])
    return stream.getvalue()
