"""The first line of every notebook: go to the repository's root, show figures and tables as the project does.

    from fsrl.notebooks import setup as notebook_setup
    notebook_setup.start()

It does the same in Jupyter, whatever folder the notebook was opened from, and in the workflow, which runs
the notebook at the root. Outside of IPython it changes the working directory and nothing else.
"""

import os
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from fsrl.errors import FsrlError
from fsrl.figures.files import display
from fsrl.figures.style import DOUBLE

MARKER = "Snakefile"
PNG_DPI = 200
SCREEN_DPI = 130  # CSS pixels per inch of the figure: its smallest type, 6 pt, is then 11 pixels high
TALLER = 1.15  # a figure of one column, drawn over two


def start() -> Path:
    """Make the repository's root the working directory and return it; set up the display in IPython.

    The root is the nearest folder, from the working directory upwards, that holds the Snakefile; else the
    one that this library lies in. FsrlError where there is neither.
    """
    places = [Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents]
    root = next((folder for folder in places if (folder / MARKER).is_file()), None)
    if root is None:
        raise FsrlError(
            f"notebook: no {MARKER} in {Path.cwd()} or above it; open the notebook in the repository"
        )
    os.chdir(root)
    _set_up_display()
    return root


def _set_up_display() -> None:
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return
    # Not the PNG formatter, which Matplotlib's inline backend would replace as soon as pyplot is imported.
    shell.display_formatter.ipython_display_formatter.for_type(Figure, show)
    # Tokens hold dollar signs and are long: nothing in a table is a formula, and nothing is cut.
    pd.set_option("display.html.use_mathjax", False)
    pd.set_option("display.max_colwidth", None)
    pd.set_option("display.max_columns", None)
    pd.set_option("display.float_format", "{:.4g}".format)


def show(figure: Figure) -> None:
    """Display a figure inline, in the project's style and as wide as a page; its title is the image's
    alternative text.

    A figure of one column is drawn wider for that, with type of the same size, and has its own size again
    when it is saved afterwards.
    """
    width, height = figure.get_size_inches()
    if width < DOUBLE:
        figure.set_size_inches(DOUBLE, height * TALLER)
    try:
        display(figure, dpi=PNG_DPI, width=round(SCREEN_DPI * figure.get_figwidth()))
    finally:
        figure.set_size_inches(width, height)
