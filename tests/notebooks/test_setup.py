"""The first line of a notebook: the repository's root, wherever the notebook was opened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fsrl.figures import style as plot_style
from fsrl.figures.files import png
from fsrl.notebooks import setup as notebook_setup
from tests.notebooks.sources import ROOT


@pytest.mark.parametrize("place", [".", "notebooks", "tests/notebooks"])
def test_it_goes_up_to_the_root(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / place)
    assert notebook_setup.start() == ROOT
    assert Path.cwd() == ROOT


def test_another_copy_of_the_repository_is_its_own_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "Snakefile").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert notebook_setup.start() == tmp_path


def test_elsewhere_it_is_the_library_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert notebook_setup.start() == ROOT


def test_a_figure_is_shown_in_the_project_s_style_with_the_same_bytes() -> None:
    code = (
        "import sys; from fsrl.figures import style as plot_style\n"
        "from fsrl.figures.files import png\n"
        "from fsrl.notebooks import setup as notebook_setup\n"
        "figure = plot_style.new_figure(2, 1, 'a title'); figure.add_subplot().plot([1, 2])\n"
        "sys.stdout.buffer.write(png(figure, notebook_setup.PNG_DPI))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(("src", "."))}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True
        )
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.startswith(b"\x89PNG")
    assert b"matplotlib" not in runs[0].stdout.lower()


@pytest.mark.parametrize(("width", "height"), [(plot_style.SINGLE, 2.0), (plot_style.DOUBLE, 2.0)])
def test_every_figure_is_shown_as_wide_as_a_page_and_keeps_its_size(
    width: float, height: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        notebook_setup,
        "display",
        lambda figure, **settings: seen.append((*figure.get_size_inches(), settings["width"])),
    )
    figure = plot_style.new_figure(width, height, "")
    notebook_setup.show(figure)
    taller = height * (notebook_setup.TALLER if width < plot_style.DOUBLE else 1)
    assert seen == [(plot_style.DOUBLE, taller, round(notebook_setup.SCREEN_DPI * plot_style.DOUBLE))]
    assert tuple(figure.get_size_inches()) == (width, height)


def test_the_image_has_the_figure_s_size() -> None:
    figure = plot_style.new_figure(3, 2, "")
    header = png(figure, notebook_setup.PNG_DPI)[16:24]
    assert int.from_bytes(header[:4], "big") == 3 * notebook_setup.PNG_DPI
    assert int.from_bytes(header[4:], "big") == 2 * notebook_setup.PNG_DPI
