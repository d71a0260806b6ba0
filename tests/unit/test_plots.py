"""Every figure: what it says, in which colours, that nothing is clipped, that its file is reproducible."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle, StepPatch
from matplotlib.text import Text
from matplotlib.textpath import TextPath

from fsrl import feature_types, figure_files, plot_exemplars, plot_layers, plot_plane, plot_style, plots
from fsrl.errors import FsrlError
from fsrl.plot_style import TYPE_COLORS
from tests.fixtures.plot_tables import DANGEROUS, Study

HOOKS = [f"blocks.{i}.hook_resid_pre" for i in range(12)] + ["blocks.11.hook_resid_post"]
TITLE = "mini · blocks.3.hook_resid_pre · view trained"
PER_LAYER = ("skewness", "kurtosis", "skewness_vs_kurtosis", "types", "exemplars")
PER_STUDY = ("layers_grid", "moments_by_layer", "type_shares")


@pytest.fixture(scope="module")
def study() -> Study:
    return Study()


@pytest.fixture(scope="module")
def layer(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return study.stored_layer(tmp_path_factory.mktemp("layer"), empty=("suppression",))


@pytest.fixture(scope="module")
def layers(study: Study) -> list[plot_layers.Layer]:
    return [study.study_layer(hook, empty=("suppression",)) for hook in HOOKS]


def draw_layer(name: str, frames: dict, scheme: str = "calibrated", title: str = TITLE) -> Figure:
    moments, null, types, counts = (frames[key] for key in ("moments", "null", "types", "type_counts"))
    if name == "types":
        return plots.types(moments, null, types, counts, scheme=scheme, title=title)
    if name == "exemplars":
        tables = (moments, types, counts, frames["extremes"], frames["histograms"])
        return plot_exemplars.exemplars(*tables, scheme=scheme, title=title)
    function: Callable[..., Figure] = getattr(plots, name)
    return function(moments, null, title=title)


def draw_study(name: str, layers: list[plot_layers.Layer], title: str = TITLE) -> Figure:
    options = {"scheme": "calibrated"} if name == "layers_grid" else {}
    return getattr(plot_layers, name)(layers, title=title, **options)


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    """The texts that appear when the figure is drawn, not those of ticks out of view or hidden panels."""
    texts: dict[int, Text] = {}
    original = Text.draw

    def record(self: Text, renderer: object) -> None:
        if self.get_visible() and self.get_text().strip():
            texts[id(self)] = self
        original(self, renderer)

    with plot_style.styled(), monkeypatch.context() as patch:
        patch.setattr(Text, "draw", record)
        FigureCanvasAgg(figure)  # as in a PNG, at its resolution
        figure.set_dpi(300)
        figure.draw_without_rendering()
    return list(texts.values())


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def assert_legible(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    """All text lies on the page and is at least 6 pt high, and no formula is parsed."""
    texts = drawn_texts(figure, monkeypatch)
    assert len(texts) >= 9
    page = figure.bbox
    for text in texts:
        box = text.get_window_extent()
        inside = min(box.x0, box.y0) > -2 and box.x1 < page.x1 + 2 and box.y1 < page.y1 + 2
        assert inside, f"{text.get_text()!r} lies outside of the page: {box} in {page}"
        assert text.get_fontsize() >= 6
        assert not text.get_parse_math()
        assert "$\\math" not in text.get_text()


@pytest.mark.parametrize("name", PER_LAYER)
def test_layer_figure_is_legible(name: str, layer: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw_layer(name, layer)
    assert_legible(figure, monkeypatch)
    assert figure.get_figwidth() == (7.0 if name == "exemplars" else 3.4)
    assert TITLE in words(figure).replace("\n", " ")
    assert "300 features (" in words(figure) and "dead" in words(figure)


@pytest.mark.parametrize("n_layers", [1, 4, 13])
@pytest.mark.parametrize("name", PER_STUDY)
def test_study_figure_is_legible(
    name: str, n_layers: int, layers: list[plot_layers.Layer], monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = draw_study(name, layers[-n_layers:])
    assert_legible(figure, monkeypatch)
    assert figure.get_figwidth() == 7.0
    assert "11 post" in words(figure) and TITLE in words(figure) and "dead features included" in words(figure)


@pytest.mark.parametrize("name", PER_LAYER)
@pytest.mark.parametrize(
    "options", [{"degenerate": 300}, {"density": False, "degenerate": 0}, {"empty": plot_style.TYPES}]
)
def test_layers_without_shapes_densities_or_types(
    name: str, options: dict, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = draw_layer(name, study.layer(**options))
    assert_legible(figure, monkeypatch)
    if "density" in options:
        assert "density unknown" in words(figure)


def test_long_titles_are_wrapped(layer: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    title = "gpt2-small-res-jb-feature-splitting · " + "blocks.8.hook_resid_pre_98304/very_long_sae_id" * 2
    for name in PER_LAYER:
        assert_legible(draw_layer(name, layer, title=title), monkeypatch)


def test_legend_of_types_has_counts_beside_the_nulls(layer: dict) -> None:
    counts = plot_style.scheme_counts(layer["type_counts"], "calibrated")
    text = words(draw_layer("types", layer))
    prediction = counts.loc["prediction", "features"]
    assert prediction > 0
    assert f"prediction: {prediction} ({100 * prediction / 300:.1f} %; null 0.1 %)" in text
    assert "suppression: none (expected by chance: 0.3)" in text
    assert "local context:" in text and "unclassified:" in text
    assert "degenerate: 2 (0.67 %; null 0 %)" in text


def test_a_type_that_the_scheme_lacks_is_not_mentioned(layer: dict) -> None:
    counts = layer["type_counts"]
    scheme = (counts["scheme"] == "universal_neurons") & (counts["type"] == "local_context")
    frames = layer | {"type_counts": counts[~scheme]}
    for name in ("types", "exemplars"):
        assert "local context" in words(draw_layer(name, frames, "calibrated"))
        assert "local context" not in words(draw_layer(name, frames, "universal_neurons"))


def test_the_palette_has_the_types_of_the_schemes_in_their_order() -> None:
    assert plot_style.TYPES == feature_types.TYPES
    assert tuple(TYPE_COLORS) == feature_types.LABELS
    assert len(set(TYPE_COLORS.values()) | {plots.FEATURES}) == len(TYPE_COLORS) + 1


def points_by_color(ax: Axes) -> dict[str, int]:
    scatters = [artist for artist in ax.collections if isinstance(artist, PathCollection)]
    return {
        to_hex(s.get_facecolor()[0]).upper(): len(s.get_offsets()) for s in scatters if len(s.get_offsets())
    }


def expected_points(counts: pd.DataFrame) -> dict[str, int]:
    rows = plot_style.scheme_counts(counts, "calibrated")["features"].drop("degenerate")
    return {TYPE_COLORS[name]: count for name, count in rows.items() if count}


def test_points_of_a_type_have_its_colour_in_every_plane(
    layer: dict, layers: list[plot_layers.Layer]
) -> None:
    assert points_by_color(draw_layer("types", layer).axes[0]) == expected_points(layer["type_counts"])
    for ax, each in zip(draw_study("layers_grid", layers).axes, layers, strict=False):
        assert points_by_color(ax) == expected_points(each.type_counts)


def test_exemplars_are_the_features_of_largest_margin_in_their_colour(layer: dict) -> None:
    figure = draw_layer("exemplars", layer)
    labelled = plot_style.typed(layer["moments"], layer["types"], "calibrated")
    panels = [ax for ax in figure.axes if any(isinstance(patch, StepPatch) for patch in ax.patches)]
    colors = []
    for name in ("local_context", "prediction", "partition"):
        best = labelled[labelled["type"] == name].sort_values("margin", ascending=False).head(3)
        assert len(best) == 3
        positions = [words(figure).find(f"feature {feature} · margin") for feature in best["feature"]]
        assert positions == sorted(positions) and positions[0] > 0
        colors += [TYPE_COLORS[name]] * 3
    steps = [next(patch for patch in ax.patches if isinstance(patch, StepPatch)) for ax in panels]
    assert [to_hex(step.get_facecolor()).upper() for step in steps] == colors


def test_exemplars_say_none_for_an_empty_type(layer: dict) -> None:
    text = words(draw_layer("exemplars", layer))
    assert text.count("none (expected by chance: 0.3)") == 1
    assert "suppression" in text


def test_exemplar_shows_all_tokens_of_its_histogram(layer: dict) -> None:
    figure = draw_layer("exemplars", layer)
    ax = next(ax for ax in figure.axes if any(isinstance(patch, StepPatch) for patch in ax.patches))
    step = next(patch for patch in ax.patches if isinstance(patch, StepPatch))
    beyond = [bar.get_y() + bar.get_height() for bar in ax.patches if isinstance(bar, Rectangle)]
    assert step.get_data().values.sum() + sum(beyond) == 400
    assert len(beyond) == 1


def test_tokens_neither_overlap_nor_lose_their_text(layer: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw_layer("exemplars", layer)
    texts = [text for text in drawn_texts(figure, monkeypatch) if text in figure.texts]
    boxes = np.array([text.get_window_extent().shrunk(0.98, 0.5).extents for text in texts])
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        later = boxes[i + 1 :]
        hit = (later[:, 0] < x1) & (later[:, 2] > x0) & (later[:, 1] < y1) & (later[:, 3] > y0)
        assert not hit.any(), f"{texts[i].get_text()!r} and {texts[i + 1 + int(np.argmax(hit))].get_text()!r}"


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_dangerous_tokens_are_printed_as_they_are(layer: dict, suffix: str, tmp_path: Path) -> None:
    extremes = layer["extremes"].copy()
    extremes["token"] = [
        DANGEROUS[i % len(DANGEROUS)] for i in extremes["rank"] + 10 * (extremes["side"] == "top")
    ]
    tables = (layer["moments"], layer["types"], layer["type_counts"], extremes, layer["histograms"])
    figure = plot_exemplars.exemplars(*tables, scheme="calibrated", title="$1 · a_b", n_tokens=10)
    figure_files.save(figure, tmp_path / f"figure.{suffix}")
    text = words(figure).split("\n")
    for shown in (
        "$x_1$",
        "\\frac{a}{b}",
        "${",
        "$$",
        "⏎",
        "⇥",
        "<0D>",
        "<C3>",
        "<U+4E2D>",
        "<U+00AD>",
        "<U+0301>",
    ):
        assert shown in text
    assert any(line.startswith("WW") and "…" in line for line in text)


def test_histogram_shows_the_shares_beyond_the_null(layer: dict) -> None:
    moments, null = layer["moments"], layer["null"]
    for name in ("skewness", "kurtosis"):
        low, high = null[name].quantile([0.001, 0.999])
        known = moments[name].dropna()
        shares = [plot_style.percent(share) for share in ((known < low).mean(), (known > high).mean())]
        figure = draw_layer(name, layer)
        assert f"features beyond: {shares[0]} and {shares[1]}" in words(figure)
        step = figure.axes[0].patches[0]
        values, edges, _ = step.get_data()
        shown = np.log10(known) if name == "kurtosis" else known
        inside = ((shown >= edges[0]) & (shown <= edges[-1])).mean()
        assert (values * np.diff(edges)).sum() == pytest.approx(inside)
        assert ("more" in words(figure)) == (inside < 1)


def test_quantile_bars_are_the_quantiles(layers: list[plot_layers.Layer]) -> None:
    ax = draw_study("moments_by_layer", layers[:1]).axes[1]
    ratio = (layers[0].moments["std"] / layers[0].moments["norm"]).dropna()
    bars = [bar for bar in ax.patches if isinstance(bar, Rectangle)]
    ends = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in bars[:3]]
    pairs = ((0.001, 0.999), (0.05, 0.95), (0.25, 0.75))
    assert ends == [pytest.approx(tuple(ratio.quantile(list(pair)))) for pair in pairs]
    null = layers[0].null["std"].quantile([0.25, 0.75])
    assert (bars[5].get_y(), bars[5].get_y() + bars[5].get_height()) == pytest.approx(tuple(null))


def test_share_bars_have_the_shares_and_the_nulls_dashes(layers: list[plot_layers.Layer]) -> None:
    figure = draw_study("type_shares", layers[:2])
    assert [ax.get_title() for ax in figure.axes] == [
        "scheme post", "scheme calibrated", "scheme universal_neurons",
    ]  # fmt: skip
    counts = plot_style.scheme_counts(layers[0].type_counts, "calibrated")
    bars = [bar for bar in figure.axes[1].patches if isinstance(bar, Rectangle)][:4]
    assert [bar.get_height() for bar in bars] == [counts.loc[name, "share"] for name in plot_style.TYPES]
    assert [to_hex(bar.get_facecolor()).upper() for bar in bars] == list(TYPE_COLORS.values())[:4]
    dashes = [line for line in figure.axes[1].collections if isinstance(line, LineCollection)]
    assert {line.get_segments()[0][0][1] for line in dashes} == {0.001}
    hollow = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert len(hollow) == 2  # suppression in both layers


def test_contours_hold_their_shares_of_the_draws(study: Study) -> None:
    x, y = np.arcsinh(study.null["skewness"]), np.log(study.null["kurtosis"])
    grid_x, grid_y, density, levels = plot_plane.density_levels(x, y)
    cell = np.abs(grid_x[:, None] - x.to_numpy()).argmin(0), np.abs(grid_y[:, None] - y.to_numpy()).argmin(0)
    assert (density[cell] >= levels[0]).mean() == pytest.approx(0.999, abs=0.002)
    assert (density[cell] >= levels[1]).mean() == pytest.approx(0.5, abs=0.02)


def test_large_scatters_are_drawn_as_pixels() -> None:
    assert plot_plane.dots(5001)["rasterized"] and not plot_plane.dots(5000)["rasterized"]


def test_the_most_extreme_kind_of_null_counts(study: Study) -> None:
    wider = study.null.assign(kind="gaussian", skewness=2 * study.null["skewness"])
    both = pd.concat([study.null, wider])
    levels = (0.001, 0.999)
    widest = 2 * plot_style.null_quantiles(study.null, "skewness", levels)
    assert plot_style.null_quantiles(both, "skewness", levels) == pytest.approx(widest)


def test_ticks_keep_their_distance() -> None:
    dense, sparse = (0.0, 1.0, 2.0, 3.0, 4.0), (0.0, 2.0, 4.0)
    assert plot_plane.pick_ticks((0, 4), [dense, sparse], float, 0.25) == list(dense)
    assert plot_plane.pick_ticks((0, 4), [dense, sparse], float, 0.26) == list(sparse)
    assert plot_plane.pick_ticks((1, 3), [dense, sparse], float, 0.26) == [1, 2, 3]


@pytest.mark.parametrize(
    ("hook", "label"),
    [
        ("blocks.0.hook_resid_pre", "0 pre"),
        ("blocks.11.hook_resid_post", "11 post"),
        ("blocks.8.hook_resid_pre_24576", "8 pre 24576"),
        ("blocks.2.attn.hook_z", "2 z"),
        ("blocks.2.hook_mlp_out", "2 mlp out"),
        ("transformer.h.3", "transformer.h.3"),
    ],
)
def test_hook_labels(hook: str, label: str) -> None:
    assert plot_style.hook_label(hook) == label


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0781, "7.8 %"),
        (0.001, "0.1 %"),
        (0.00065, "0.065 %"),
        (0.0, "0 %"),
        (1.0, "100.0 %"),
        (0.123, "12.3 %"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert plot_style.percent(share) == text


def test_text_width_is_that_of_the_outlines() -> None:
    for text in ("WWW", "blocks.8.hook_resid_pre", "illi" * 9):
        outline = TextPath((0, 0), text, size=6.5, prop=FontProperties(family="DejaVu Sans"))
        assert plot_style.text_width(text, 6.5) == pytest.approx(outline.get_extents().width, rel=0.05)


def test_unknown_scheme_is_named(layer: dict) -> None:
    with pytest.raises(FsrlError, match="'calibrate'; choose one of: post, calibrated, universal_neurons"):
        draw_layer("types", layer, scheme="calibrate")


def test_features_without_a_type_are_refused(layer: dict) -> None:
    types = layer["types"]
    with pytest.raises(FsrlError, match="no type for 1 features of table moments, the first is feature 7"):
        draw_layer("types", layer | {"types": types[types["feature"] != 7]})


def test_an_empty_null_is_refused(layer: dict) -> None:
    with pytest.raises(FsrlError, match="table null: no finite value in column skewness"):
        draw_layer("skewness", layer | {"null": layer["null"].iloc[:0]})


SAVE = """
import sys
from pathlib import Path
from fsrl import figure_files
from tests.fixtures.plot_tables import Study
from tests.unit.test_plots import draw_layer, draw_study
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
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, bytes]]]:
    """The files of two processes with other hash seeds, by name."""
    runs = []
    for seed in ("1", "2"):
        folder = tmp_path_factory.mktemp(f"seed{seed}")
        path = os.pathsep.join(("src", "."))
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", SAVE, str(folder)], check=True, cwd=root, env=environment)
        runs.append({file.name: file.read_bytes() for file in sorted(folder.iterdir())})
    yield runs


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


def test_drawing_leaves_the_global_style_alone(layer: dict) -> None:
    before = dict(matplotlib.rcParams)
    draw_layer("types", layer)
    assert dict(matplotlib.rcParams) == before
