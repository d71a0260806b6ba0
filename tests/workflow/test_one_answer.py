"""A feature has one type under one scheme and view: 50 of the built study's, asked for in every way."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fsrl import defaults
from fsrl.names import type_label
from fsrl.nulls import frames as null_frames
from fsrl.tables import core as tables
from fsrl.tables.types import TYPE_COUNTS, TYPES
from fsrl.utils import SAEfeatureAnalyzer

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SAE, VIEW = "blocks.5.hook_resid_post", "trained"
CHIP = re.compile(r"; type ([^<;]+) by scheme calibrated")


@pytest.fixture(scope="module")
def types(built_mini: Path) -> pd.Series:
    """Feature -> its type as the workflow's table has it."""
    frame = tables.read(built_mini / f"results/mini/{SAE}/{VIEW}/types.parquet", TYPES)
    return frame[frame["scheme"] == defaults.SCHEME].set_index("feature")["type"]


@pytest.fixture(scope="module")
def features(types: pd.Series) -> list[int]:
    """50 features, half of them of some type."""
    chosen = np.random.default_rng(0)
    typed = types != "unclassified"
    halves = [chosen.choice(types.index[mine], 25, replace=False) for mine in (typed, ~typed)]
    return np.concatenate(halves).tolist()


@pytest.fixture
def inside(built_mini: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is that of the built project."""
    monkeypatch.chdir(built_mini)
    return built_mini


def snippet() -> str:
    """The tutorial's lines of the notebook's interface, up to the first that shows something."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tutorial.md").read_text(), re.S)
    (lines,) = [block for block in blocks if "SAEfeatureAnalyzer(sae_model)\n" in block]
    assert f'"{SAE}"' in lines
    return lines.split("SAEfeatureAnalyzer(sae_model)\n")[0] + "SAEfeatureAnalyzer(sae_model)\n"


@pytest.fixture
def made(inside: Path) -> SAEfeatureAnalyzer:
    names: dict = {}
    exec(snippet(), names)
    return names["sae_analyzer"]


def test_the_tutorial_s_analyzer_and_its_pages_say_what_the_table_says(
    made: SAEfeatureAnalyzer, types: pd.Series, features: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("null directions were drawn")

    monkeypatch.setattr(null_frames, "of_directions", refuse)
    found = made.types().set_index("feature")["type"]
    assert found.equals(types)
    steered = np.zeros(len(types))
    steered[features] = 1
    listed = made.get_steered_features_info(steered, top_k=None, threshold=0.5, descriptions=False)
    assert listed.set_index("feature")["type"].sort_index().equals(types.loc[sorted(features)])
    for feature in features:
        page = made.get_feature_page(feature, live=False, hide=["activations", "explanation"]).html
        (label,) = CHIP.findall(page)
        assert label == type_label(types[feature]), feature
        assert f"results/mini/{SAE}/{VIEW}" in page


def test_what_is_computed_without_tables_is_the_same(
    made: SAEfeatureAnalyzer, types: pd.Series, features: list[int]
) -> None:
    alone = SAEfeatureAnalyzer(made.sae_model, results=False)
    found = alone.types().set_index("feature")["type"]
    assert found.loc[features].equals(types.loc[features])
    assert (found == types).all()


def test_a_notebook_that_brings_two_matrices_gets_the_same(
    inside: Path, types: pd.Series, features: list[int]
) -> None:
    names: dict = {}
    exec((inside / "notebooks/bring_your_own_sae.py").read_text(), names)
    found = names["types"].set_index("feature")["type"]
    assert found.loc[features].equals(types.loc[features])


def test_the_tour_s_notebook_shows_the_same(inside: Path, types: pd.Series) -> None:
    notebook = json.loads((inside / "results/notebooks/visualizing_sae_features.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    pages = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    labels = "|".join(dict.fromkeys(types))
    row = re.compile(rf"<th>(\d+)</th>\s*<td>[^<]*</td>\s*<td>({labels})</td>")
    shown = [(int(feature), label) for page in pages for feature, label in row.findall(page)]
    assert len(shown) == 6
    assert all(types[feature] == label for feature, label in shown)


def test_counts_behind_figures_and_paper_are_of_these_types(inside: Path, types: pd.Series) -> None:
    counts = tables.read(inside / f"results/mini/{SAE}/{VIEW}/type_counts.parquet", TYPE_COUNTS)
    counts = counts[counts["scheme"] == defaults.SCHEME].set_index("type")["features"]
    found = types.value_counts()
    assert {label: int(n) for label, n in counts.items() if n} == found.to_dict()
    summary = pd.read_csv(inside / f"results/mini/summary/{VIEW}.tsv", sep="\t").set_index("sae").loc[SAE]
    for label in counts.index:
        assert summary[label] == found.get(label, 0), label
