"""The notebooks of the project, and small ones for the tests."""

from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))

SAMPLE = r"""# %% [markdown]
# # A sample <b>
#
# Inline $\mu_i$, and
#
# $$\sigma^2 = \frac{1}{V} \sum_t (w_t - \mu)^2$$

# %%
import os
import sys

import pandas as pd

from fsrl.figures import style as plot_style
from fsrl.notebooks import setup as notebook_setup

notebook_setup._set_up_display()
print("said", os.environ.get("NEURONPEDIA_API_KEY"), file=sys.stdout)
print("a warning", file=sys.stderr)

# %%
pd.DataFrame({"token": ["<script>alert(1)</script>", "$a$"], "weight": [0.123456, 2.0]})

# %%
figure = plot_style.new_figure(2, 2, "one panel")
figure.add_subplot().plot([1, 3, 2])
figure
"""


def written(folder: Path, text: str, name: str = "sample") -> Path:
    """A notebook with this text in a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def notebook_of(*outputs: dict, text: str = "# Tokens & <b>") -> nbformat.NotebookNode:
    """A notebook with a cell of code that shows these outputs."""
    made = [nbformat.v4.new_output("display_data", data=data) for data in outputs]
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("x = '<i>'", outputs=made)]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return nbformat.v4.new_notebook(cells=cells)
