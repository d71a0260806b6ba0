"""What all figures share: the widths of a page's columns, study and layers in words, no text upon another."""

import importlib
import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from fsrl.effects import summary as effect_summary
from fsrl.figures import coverage as plot_coverage
from fsrl.figures import dictionaries as side_by_side
from fsrl.figures import effects as effect_plots
from fsrl.figures import enrichment as plot_evidence
from fsrl.figures import headline as plot_headline
from fsrl.figures import heatmap as plot_heatmap
from fsrl.figures import planted as plot_planted
from fsrl.figures import sensitivity as plot_sensitivity
from fsrl.figures import splits as plot_splits
from fsrl.figures import transported
from fsrl.figures import views as plot_views
from fsrl.figures.style import DOUBLE, SINGLE
from fsrl.hooks import hook_label
from fsrl.names import TYPES
from tests.fixtures import plot_evidence_tables
from tests.fixtures.plot_effects import agreement_of, effects_of
from tests.fixtures.plot_figures import assert_legible, draw_layer, draw_study, drawn_texts, words
from tests.fixtures.plot_splits import split_table
from tests.fixtures.plot_tables import Study, four_kinds, null_counts
from tests.fixtures.plot_tables import compared as dictionaries_compared
from tests.fixtures.plot_transported import layer as transported_layer

SOURCES = Path(plot_splits.__file__).parent
STUDY = "GPT-2 small, residual stream"
# As many layers as the largest study has, and the longest names.
HOOKS = [f"blocks.{i}.hook_resid_pre" for i in range(12)] + ["blocks.11.hook_resid_post"]
LAYER_TITLE = f"{STUDY} · {HOOKS[-1]} · view trained"
STUDY_TITLE = f"{STUDY} · view trained"
PAGE = 9.7  # inches: the height of a page of the paper
# Figures of no layer, or not of every one: of directions that were made for the purpose, of random ones, of
# all layers' sums, of ten features.
OF_NO_LAYER = {
    "coverage.set_coverage",
    "planted.recovery",
    "planted.recovery_by_set",
    "enrichment.qq",
    "transported.tokens",
}


class Drawn:
    """Every figure of a study of 13 layers, by module and function; drawn when asked for."""

    def __init__(self, folder: Path) -> None:
        study = Study()
        self.layer = study.stored_layer(folder, empty=("suppression",))
        self.layer["null"] = four_kinds(self.layer["null"])
        layers = [study.study_layer(hook, empty=("suppression",)) for hook in HOOKS]
        self.layers = [layer._replace(null=four_kinds(layer.null)) for layer in layers]
        self.counts, self.folder = self.layer["type_counts"], folder
        self.found = [
            plot_evidence_tables.evidence(hook, self.counts, folder, seed=i) for i, hook in enumerate(HOOKS)
        ]
        self.effects = {hook: effects_of(i) for i, hook in enumerate(HOOKS)}
        self.predicted = {hook: agreement_of(i) for i, hook in enumerate(HOOKS)}
        self.carried = {hook: transported_layer(i) for i, hook in enumerate(HOOKS)}

    def evidence(self) -> dict[str, Callable[[], Figure]]:
        tables, kinds = plot_evidence_tables, plot_evidence_tables.SETS
        typed: dict[str, Any] = {"scheme": "calibrated", "title": STUDY_TITLE}
        exemplars = split_table({name: i for i, name in enumerate(TYPES) if name != "suppression"})
        return {
            "enrichment.manhattan": lambda: plot_evidence.manhattan(
                self.found, tables.discoveries(HOOKS, self.folder), kinds, title=STUDY_TITLE
            ),
            "enrichment.qq": lambda: plot_evidence.qq(
                tables.null_p_values(HOOKS, self.folder), title=STUDY_TITLE
            ),
            "coverage.set_coverage": lambda: plot_coverage.set_coverage(
                tables.set_coverage(HOOKS, self.folder), **typed
            ),
            "headline.headline": lambda: plot_headline.headline(
                self.layers,
                [null_counts(layer.type_counts) for layer in self.layers],
                tables.null_p_values(HOOKS, self.folder),
                effect_summary.by_hook(self.predicted, seed=0),
                **typed,
            ),
            "heatmap.heatmap": lambda: plot_heatmap.heatmap(self.found, kinds, **typed),
            "splits.splits": lambda: plot_splits.splits(
                exemplars, self.counts, scheme="calibrated", title=LAYER_TITLE
            ),
            "sensitivity.sensitivity": lambda: plot_sensitivity.sensitivity(
                tables.sensitivity(HOOKS, self.folder), **typed
            ),
            "planted.recovery": lambda: plot_planted.recovery(tables.recovery(self.folder), **typed),
            "planted.recovery_by_set": lambda: plot_planted.recovery_by_set(
                tables.recovery_by_set(self.folder), **typed
            ),
        }

    def others(self) -> dict[str, Callable[[], Figure]]:
        moments, null, types = (self.layer[name] for name in ("moments", "null", "types"))
        summary, title = effect_summary, {"title": STUDY_TITLE}
        views = plot_views.two_views
        pair = {"views": ("main", "trained"), "scheme": "calibrated", "title": f"{STUDY} · {HOOKS[-1]}"}
        counts = {"a": {HOOKS[-1]: self.layer["type_counts"]}}
        compared = dictionaries_compared(counts | {"b": counts["a"]}, "calibrated")
        return {
            "dictionaries.dictionaries": lambda: side_by_side.dictionaries(
                compared, {"a": STUDY_TITLE, "b": STUDY_TITLE}, **title
            ),
            "views.two_views": lambda: views((moments, moments), (null, null), types, **pair),
            "effects.agreement": lambda: effect_plots.agreement(
                summary.by_hook(self.predicted, seed=0), **title
            ),
            "effects.agreement_by_type": lambda: effect_plots.agreement_by_type(
                summary.summarise(self.effects, self.predicted, seed=0), **title
            ),
            "effects.moments": lambda: effect_plots.moments(self.effects, **title),
            "effects.retention": lambda: effect_plots.retention(summary.retention(self.effects), **title),
            "transported.moments": lambda: transported.moments(self.carried, **title),
            "transported.tokens": lambda: transported.tokens(self.carried, **title),
        }

    def all(self) -> dict[str, Callable[[], Figure]]:
        of_layer = {
            "layer": ("skewness", "kurtosis", "skewness_vs_kurtosis", "types"),
            "evidence": ("evidence",),
            "exemplars": ("exemplars",),
        }
        of_study = {
            "layers": ("layers_grid", "moments_by_layer", "nulls_by_layer", "type_shares"),
        }
        found = {
            f"{module}.{name}": lambda name=name: draw_layer(name, self.layer, title=LAYER_TITLE)
            for module, names in of_layer.items()
            for name in names
        }
        found |= {
            f"{module}.{name}": lambda name=name: draw_study(name, self.layers, title=STUDY_TITLE)
            for module, names in of_study.items()
            for name in names
        }
        return found | self.evidence() | self.others()


def figure_functions() -> list[str]:
    """Every function of the library that draws a figure of a study: it takes a title and gives a Figure."""
    found = []
    for path in sorted(SOURCES.glob("[!_]*.py")):
        module = importlib.import_module(f"fsrl.figures.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ != module.__name__ or name.startswith("_") or name == "new_figure":
                continue
            signature = inspect.signature(function)
            if signature.return_annotation is Figure and "title" in signature.parameters:
                found.append(f"{path.stem}.{name}")
    return found


FUNCTIONS = figure_functions()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[], Figure]]:
    return Drawn(tmp_path_factory.mktemp("figures")).all()


def overlapping(texts: list[Text]) -> list[tuple[str, str]]:
    """Pairs of texts of which one covers part of the other."""
    boxes = [(text.get_text(), text.get_window_extent().padded(-1.5)) for text in texts]
    return [(one[0], two[0]) for one, two in itertools.combinations(boxes, 2) if one[1].overlaps(two[1])]


def test_every_figure_of_the_library_is_examined(drawn: dict) -> None:
    assert sorted(drawn) == FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_figure_is_of_the_house(name: str, drawn: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn[name]()
    # Drawn first: ticks that are made later would not have the style.
    texts = drawn_texts(figure, monkeypatch)
    covered = overlapping(texts)
    assert covered == []
    assert_legible(figure, monkeypatch)
    assert figure.get_figwidth() in (SINGLE, DOUBLE)
    assert figure.get_figheight() <= PAGE
    read = words(figure)
    assert STUDY in read.replace("\n", " ")
    assert name in OF_NO_LAYER or hook_label(HOOKS[-1]) in read or HOOKS[-1] in read.replace("\n", "")
