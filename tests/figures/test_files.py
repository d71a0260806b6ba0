"""Files of figures: whole or not at all, the same bytes in every run, true fonts and no dates."""

import io
import os
import re
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from fsrl.errors import FsrlError
from fsrl.figures import files as figure_files
from fsrl.figures.style import new_figure
from fsrl.notebooks import run as notebooks

SAVE = """
import sys
from pathlib import Path
from fsrl.figures import files as figure_files
from tests.fixtures.plot_tables import Study
from tests.fixtures.plot_figures import draw_layer, draw_study
folder, study = Path(sys.argv[1]), Study()
frames = study.layer()
layers = [study.study_layer("blocks.0.hook_resid_pre")] * 2
figures = {name: draw_layer(name, frames) for name in ("skewness", "types", "exemplars")}
figures["layers_grid"] = draw_study("layers_grid", layers)
for name, figure in figures.items():
    for suffix in ("pdf", "png"):
        figure_files.save(figure, folder / f"{name}.{suffix}")
assert "matplotlib.pyplot" not in sys.modules
"""


def saved(folder: Path, seed: str) -> dict[str, bytes]:
    """The files of a process with this hash seed, by name."""
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(("src", "."))}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", SAVE, str(folder)], check=True, cwd=root, env=environment)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return saved(tmp_path_factory.mktemp("first"), "1")


@pytest.mark.slow
def test_files_are_the_same_in_every_run(first: dict[str, bytes], tmp_path: Path) -> None:
    second = saved(tmp_path, "2")
    assert [name for name in first if first[name] != second[name]] == []


def test_files_carry_no_date_and_true_fonts(first: dict[str, bytes]) -> None:
    assert len(first) == 8
    for name, data in first.items():
        assert data.startswith(b"%PDF" if name.endswith("pdf") else b"\x89PNG")
        assert b"Date" not in data and b"atplotlib" not in data
        assert b"/Type3" not in data


def fonts_of(pdf: bytes) -> list[bytes]:
    """The TrueType files in a PDF."""
    streams = [zlib.decompress(part) for part in re.findall(rb"stream\r?\n(x.*?)\r?\nendstream", pdf, re.S)]
    return [stream for stream in streams if stream.startswith(b"\x00\x01\x00\x00")]


def test_fonts_in_a_pdf_have_what_draws_their_glyphs_and_no_more(tmp_path: Path) -> None:
    figure_files.save(drawn(), tmp_path / "small.pdf")
    whole = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}):
        drawn().savefig(whole, format="pdf")
    small = fonts_of((tmp_path / "small.pdf").read_bytes())
    assert small and all(b"glyf" in font and b"GPOS" not in font for font in small)
    assert all(b"GPOS" in font for font in fonts_of(whole.getvalue()))


def test_save_refuses_other_endings_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FsrlError, match="is written as .pdf or .png"):
        figure_files.save(Figure(), tmp_path / "figure.doc")
    broken = Figure()
    broken.text(0.5, 0.5, "x").draw = None  # type: ignore[method-assign, assignment]
    with pytest.raises(TypeError):
        figure_files.save(broken, tmp_path / "figure.pdf")
    assert list(tmp_path.iterdir()) == []


def drawn() -> Figure:
    figure = new_figure(2, 2, "a title")
    figure.add_subplot().plot([1, 3, 2])
    return figure


# How a file of each format begins.
BEGINNINGS = {
    "pdf": b"%PDF",
    "png": b"\x89PNG",
    "svg": b"<?xml",
    "svgz": b"\x1f\x8b",
    "eps": b"%!PS",
    "ps": b"%!PS",
    "jpg": b"\xff\xd8",
    "jpeg": b"\xff\xd8",
    "gif": b"GIF8",
    "tif": b"II*",
    "tiff": b"II*",
    "webp": b"RIFF",
    "PNG": b"\x89PNG",
}


@pytest.mark.parametrize("ending", BEGINNINGS)
def test_every_format_of_matplotlib_is_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "folder" / f"figure.{ending}"
    figure_files.check_path(path)
    figure_files.finished(drawn(), path)
    assert path.read_bytes().startswith(BEGINNINGS[ending])
    if ending in ("pdf", "png", "svg"):
        figure_files.save(drawn(), tmp_path / f"again.{ending}")
        assert (tmp_path / f"again.{ending}").read_bytes() == path.read_bytes()


def test_no_format_of_matplotlib_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {f".{ending}" for ending in Figure().canvas.get_supported_filetypes()}
    assert set(figure_files.FORMATS) == known
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FsrlError, match=r"\.pgf needs xelatex, which is not here; write \.pdf"):
        figure_files.check_path("figure.pgf")


def test_a_path_where_nothing_can_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for place in ("file/figure.png", "folder.png", "x" * 300 + "/figure.png", "nul\0/figure.png"):
        with pytest.raises(FsrlError, match="no figure can be written there; give another path"):
            figure_files.check_path(tmp_path / place)


SHOWN = """
import sys, warnings
from fsrl.figures.files import finished
from fsrl.figures.style import new_figure
figure = finished(new_figure(2, 2, "a title"), None)
assert "matplotlib.pyplot" not in sys.modules
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    figure.show()
(one,) = said
assert "backend is agg); give save_path=" in str(one.message) and one.filename == "<string>"
import matplotlib.pyplot as plt
assert plt.get_fignums() == []
"""


def test_a_script_without_a_screen_is_told_so() -> None:
    environment = os.environ | {"MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", SHOWN], check=True, env=environment)


def test_a_window_is_opened_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that only counts; pyplot's own figures are left alone."""
    import matplotlib.backends.backend_template as backend
    import matplotlib.pyplot as plt

    opened = []
    monkeypatch.setattr(backend.FigureCanvasTemplate, "required_interactive_framework", "qt", raising=False)
    monkeypatch.setattr(backend.FigureManagerTemplate, "show", lambda self: opened.append(self.canvas.figure))
    monkeypatch.setattr(figure_files, "get_backend", lambda: "template")
    first, second = (figure_files.finished(drawn(), None) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in (first, second, first):
            figure.show()
    assert opened == [first, second, first] and plt.get_fignums() == []


CELLS = """
# %%
{setup}
from fsrl.figures import files, style
def plot(title):
    return files.finished(style.new_figure(2, 2, title), None)
# %% two, neither on the last line
plot("a"), plot("b")
print("done")
# %% the last line's, and one before
plot("a")
plot("b")
# %% by hand
first, second = plot("a"), plot("b")
second.show()
first.show()
# %% kept, shown once where it was made
kept = plot("a")
# %% and again where it is asked for
kept
# %% nothing is left over
1
"""


@pytest.mark.parametrize("setup", ["", "import matplotlib.pyplot as plt", "own"])
def test_every_figure_of_a_cell_is_shown_once(tmp_path: Path, setup: str) -> None:
    own = "from fsrl.notebooks import setup as notebook_setup\nnotebook_setup.start()"
    path = tmp_path / "notebook.py"
    path.write_text(CELLS.lstrip().format(setup=own if setup == "own" else setup))
    notebook = notebooks.execute(path, folder=Path(__file__).parents[2])
    pictures = [
        sum("image/png" in output.get("data", {}) for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    assert pictures == [0, 2, 2, 2, 1, 1, 0]
