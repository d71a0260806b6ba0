"""Files of figures: whole or not at all, the same bytes in every run, true fonts and no dates."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from fsrl.errors import FsrlError
from fsrl.figures import files as figure_files

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


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """The files of two processes with other hash seeds, by name."""
    runs = []
    for seed in ("1", "2"):
        folder = tmp_path_factory.mktemp(f"seed{seed}")
        path = os.pathsep.join(("src", "."))
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", SAVE, str(folder)], check=True, cwd=root, env=environment)
        runs.append({file.name: file.read_bytes() for file in sorted(folder.iterdir())})
    return runs


def test_files_are_the_same_in_every_run(two_runs: list[dict[str, bytes]]) -> None:
    first, second = two_runs
    assert len(first) == 8
    assert [name for name in first if first[name] != second[name]] == []


def test_files_carry_no_date_and_true_fonts(two_runs: list[dict[str, bytes]]) -> None:
    for name, data in two_runs[0].items():
        assert data.startswith(b"%PDF" if name.endswith("pdf") else b"\x89PNG")
        assert b"Date" not in data and b"atplotlib" not in data
        assert b"/Type3" not in data


def test_save_refuses_other_endings_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FsrlError, match="is written as .pdf or .png"):
        figure_files.save(Figure(), tmp_path / "figure.jpg")
    broken = Figure()
    broken.text(0.5, 0.5, "x").draw = None  # type: ignore[method-assign, assignment]
    with pytest.raises(TypeError):
        figure_files.save(broken, tmp_path / "figure.pdf")
    assert list(tmp_path.iterdir()) == []
