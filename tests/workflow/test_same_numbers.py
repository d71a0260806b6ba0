"""A feature has the same numbers everywhere: 50 of the built study's, in tables, pages, browser and paper."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fsrl import HookedModel, SAEAdapter, defaults, hub
from fsrl.enrichment import store
from fsrl.pages import catalog
from fsrl.pages.text import ABSENT, column, number, power
from fsrl.tables import core as tables
from fsrl.tables.enrichment import SCORES
from fsrl.tables.moments import EXTREMES, MOMENTS
from fsrl.tables.types import TYPES
from fsrl.utils import SAEfeatureAnalyzer
from tests.fixtures.driven_browser import PARTS, Visit, chromium, set_rows, texts

pytestmark = pytest.mark.slow
SAE, VIEW = "blocks.5.hook_resid_post", "trained"
# A row of the paper's exemplars of this layer: feature, std / norm, skewness, kurtosis.
EXEMPLAR = re.compile(r"\\quad 5 post & (\d+) & ([\d.]+) & (-?[\d.]+) & ([\d.]+) &")


def read(folder: Path, name: str, table: tables.Table) -> pd.DataFrame:
    return tables.read(folder / f"results/mini/{SAE}/{VIEW}/{name}.parquet", table)


@pytest.fixture(scope="module")
def moments(built_mini: Path) -> pd.DataFrame:
    return read(built_mini, "moments", MOMENTS).set_index("feature")


@pytest.fixture(scope="module")
def printed(built_mini: Path) -> dict[int, tuple[str, ...]]:
    """The paper's exemplars of the layer: feature -> its numbers as they are printed."""
    text = (built_mini / "paper/generated/mini/exemplars.tex").read_text(encoding="utf-8")
    found = {int(feature): tuple(rest) for feature, *rest in EXEMPLAR.findall(text)}
    assert len(found) >= 4
    return found


@pytest.fixture(scope="module")
def features(built_mini: Path, printed: dict[int, tuple[str, ...]]) -> list[int]:
    """The paper's exemplars, and others up to 50: half of them of some type."""
    types = read(built_mini, "types", TYPES)
    types = types[types["scheme"] == defaults.SCHEME].set_index("feature")["type"].drop(list(printed))
    typed, chosen = types != "unclassified", np.random.default_rng(0)
    left = 50 - len(printed)
    halves = [
        chosen.choice(types.index[mine], size, replace=False)
        for mine, size in ((typed, left // 2), (~typed, left - left // 2))
    ]
    return [*printed, *np.concatenate(halves).tolist()]


@pytest.fixture(scope="module")
def evidence(built_mini: Path) -> Callable[[int, str], list[str]]:
    """Feature, set -> set, z, t, p, AUC and running sum, as the tables have them."""
    path = built_mini / f"results/mini/{SAE}/{VIEW}/enrichment.parquet"
    names, values = store.statistic(path, "z", "t", "log10_p")
    scores = read(built_mini, "scores", SCORES).set_index(["feature", "set"])

    def of(feature: int, name: str) -> list[str]:
        z, t, log10_p = (float(one[feature, names.index(name)]) for one in values)
        scored = scores.loc[(feature, name)].to_dict() if (feature, name) in scores.index else {}
        return [
            name,
            number(z),
            number(t),
            power(log10_p),
            *(number(scored.get(key)) for key in ("auc", "es")),
        ]

    return of


@pytest.fixture
def analyzer(built_mini: Path, monkeypatch: pytest.MonkeyPatch) -> SAEfeatureAnalyzer:
    """The notebook's, in the folder of the built project."""
    monkeypatch.chdir(built_mini)
    sae, _, _ = SAEAdapter.from_pretrained("data/mini/saes", SAE)
    return SAEfeatureAnalyzer(HookedModel(hub.load_model("data/mini"), sae))


@pytest.fixture
def visit() -> Iterator[Visit]:
    with chromium() as browser:
        yield Visit(browser)


def test_fifty_features_read_alike_on_both_pages_and_as_the_tables_have_them(
    analyzer: SAEfeatureAnalyzer,
    built_mini: Path,
    features: list[int],
    moments: pd.DataFrame,
    evidence: Callable[[int, str], list[str]],
    visit: Visit,
) -> None:
    """Numbers, names, sets, bars and the null's shape; the tables themselves are the third witness."""
    extremes = read(built_mini, "extremes", EXTREMES)
    address = (built_mini / "results/mini/browser/index.html").as_uri()
    theirs: Any = visit.context.new_page()
    for feature in features:
        page = visit.open(f"{address}#layer={SAE}&feature={feature}")
        page.wait_for_selector(f"#page-moments-{VIEW} dd", state="attached")
        theirs.set_content(analyzer.get_feature_page(feature, live=False, hide=["activations"]).html)
        for part, inner in PARTS.items():
            found = texts(theirs, f"#page-{part}", inner)
            # The study has transported weights too: what is of a view stands there twice.
            section = f"#page-{part}" if part == "explanations" else f"#page-{part}-{VIEW}"
            assert found and found == texts(page, section, inner), (feature, part)
        assert texts(theirs, "#feature header", ".chip") == texts(page, "#feature header", ".chip"), feature
        sets = set_rows(theirs, "#page-sets")
        assert sets and sets == set_rows(page, "#page-sets"), feature
        # Without a score in any row there is no column of them.
        shown = [row[:1] + row[2:5] + (row[6:8] if len(row) > 7 else [ABSENT] * 2) for row in sets]
        assert shown == [evidence(feature, row[0]) for row in sets], feature
        # The tables' own, in the catalogue's form.
        own = texts(theirs, "#page-moments", "dd:not(.unit)")[: len(catalog.MOMENTS)]
        row = moments.loc[feature]
        assert own == [number(row[fact.key]) for fact in catalog.MOMENTS], feature
        mine = extremes[extremes["feature"] == feature].sort_values("rank").groupby("side")["weight"]
        weights = [weight for side in ("top", "bottom") for weight in mine.get_group(side)]
        said = [text for side in ("top", "bottom") for text in texts(theirs, f"#page-{side}", ".weight")]
        assert said == column(weights), feature
    assert len(set(features)) == 50 and visit.said == []


def test_the_paper_s_exemplars_have_the_tables_numbers(
    printed: dict[int, tuple[str, ...]], moments: pd.DataFrame
) -> None:
    for feature, numbers in printed.items():
        row = moments.loc[feature]
        # A zero has no sign there.
        made = f"{row['std'] / row['norm']:.3f}", f"{row['skewness']:z.2f}", f"{row['kurtosis']:.2f}"
        assert numbers == made, feature
