"""A feature has the same numbers everywhere: 50 of three built SAEs, in tables, pages, browser and paper."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fsrl import HookedModel, SAEAdapter, defaults, hub
from fsrl.enrichment import store
from fsrl.names import type_label
from fsrl.pages import catalog
from fsrl.pages.text import ABSENT, MINUS, TOKEN_LIMIT, column, number, power
from fsrl.tables import core as tables
from fsrl.tables.effects import AGREEMENT, EFFECTS
from fsrl.tables.enrichment import BEST_SETS, SCORES
from fsrl.tables.explanations import EXPLANATIONS
from fsrl.tables.moments import EXTREMES, MOMENTS
from fsrl.tables.types import TYPES
from fsrl.tokens.text import legible
from fsrl.utils import SAEfeatureAnalyzer
from tests.fixtures.driven_browser import PARTS, Visit, chromium, set_rows, texts

pytestmark = pytest.mark.slow
SAES, VIEW = ("blocks.0.hook_resid_pre", "blocks.3.hook_resid_pre", "blocks.5.hook_resid_post"), "trained"
FEATURES, MEASURED = 50, 5  # in all; of each SAE, at least, whose effects were measured
ROWS = 50  # on a page of the browser's table
# A row of the paper's exemplars: layer, place, feature, std / norm, skewness, kurtosis.
EXEMPLAR = re.compile(r"\\quad (\d+) (pre|post) & (\d+) & ([\d.]+) & (-?[\d.]+) & ([\d.]+) &")
Chosen = list[tuple[str, int]]


class Built:
    """The study's tables of an SAE, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[tuple[str, str], pd.DataFrame] = {}

    def read(self, sae: str, name: str, table: tables.Table) -> pd.DataFrame:
        if (sae, name) not in self.known:
            path = self.folder / f"results/mini/{sae}/{VIEW}/{name}.parquet"
            self.known[sae, name] = tables.read(path, table)
        return self.known[sae, name]

    def moments(self, sae: str, feature: int) -> pd.Series:
        return self.read(sae, "moments", MOMENTS).set_index("feature").loc[feature]

    def types(self, sae: str) -> pd.DataFrame:
        frame = self.read(sae, "types", TYPES)
        return frame[frame["scheme"] == defaults.SCHEME].set_index("feature")

    def extremes(self, sae: str, feature: int, side: str) -> pd.DataFrame:
        frame = self.read(sae, "extremes", EXTREMES)
        return frame[(frame["feature"] == feature) & (frame["side"] == side)].sort_values("rank")

    def evidence(self, sae: str, feature: int, name: str) -> list[str]:
        """A set's z, t, p, AUC and running sum."""
        names, values = self.statistics(sae)
        z, t, log10_p = (float(one[feature, names.index(name)]) for one in values)
        scores = self.read(sae, "scores", SCORES)
        row = scores[(scores["feature"] == feature) & (scores["set"] == name)]
        scored = row.iloc[0].to_dict() if len(row) else {}
        return [
            name,
            number(z),
            number(t),
            power(log10_p),
            *(number(scored.get(key)) for key in ("auc", "es")),
        ]

    @cache  # noqa: B019 (as long as the module's tests)
    def statistics(self, sae: str) -> Any:
        return store.statistic(
            self.folder / f"results/mini/{sae}/{VIEW}/enrichment.parquet", "z", "t", "log10_p"
        )

    def effects(self, sae: str, feature: int) -> list[list[str]]:
        """What was measured of a feature, as its page prints it: a row a state and step."""
        found, both = self.read(sae, "effects", EFFECTS), self.read(sae, "agreement", AGREEMENT)
        found, both = found[found["feature"] == feature], both[both["feature"] == feature]
        both = both[both["prediction"] == "direct"]
        rows = []
        for _, one in both[both["direction"] == "feature"].iterrows():
            here = [
                frame[(frame["state"] == one["state"]) & (frame["step"] == one["step"])]
                for frame in (both, found)
            ]
            (matched,) = here[0].loc[here[0]["direction"] == "matched", "pearson"]
            (change,) = (row for _, row in here[1].iterrows() if row["direction"] == "feature")
            numbers = [
                number(value)
                for value in (
                    one["pearson"],
                    matched,
                    one["spearman"],
                    one["slope"],
                    one["overlap"],
                    change["kept"],
                )
            ]
            said = [one["state"], one["step"].replace("-", MINUS), str(one["positions"])]
            rows.append([*said, *numbers, type_label(change["measured_type"])])
        return rows

    def effect(self, sae: str, feature: int) -> str:
        """The one that the browser's table has."""
        frame = self.read(sae, "agreement", AGREEMENT)
        asked = {
            "feature": feature,
            "direction": "feature",
            "prediction": "direct",
            "state": "active",
            "step": "+1",
        }
        for name, value in asked.items():
            frame = frame[frame[name] == value]
        return number(frame["pearson"].iloc[0] if len(frame) else None)

    def explanation(self, sae: str, feature: int) -> str:
        """The first of a feature."""
        frame = tables.read(self.folder / f"results/mini/explanations/{sae}.parquet", EXPLANATIONS)
        rows = frame[frame["feature"] == feature]
        return catalog.explanation(rows["description"].iloc[0], None, None)[0] if len(rows) else ABSENT


@pytest.fixture(scope="module")
def built(built_mini: Path) -> Built:
    return Built(built_mini)


@pytest.fixture(scope="module")
def printed(built_mini: Path) -> dict[tuple[str, int], tuple[str, ...]]:
    """The paper's exemplars of these SAEs: SAE, feature -> its numbers as they are printed."""
    text = (built_mini / "paper/generated/mini/exemplars.tex").read_text(encoding="utf-8")
    found = {
        (f"blocks.{layer}.hook_resid_{place}", int(feature)): tuple(rest)
        for layer, place, feature, *rest in EXEMPLAR.findall(text)
    }
    found = {one: numbers for one, numbers in found.items() if one[0] in SAES}
    assert len(found) >= 4
    return found


@pytest.fixture(scope="module")
def features(built: Built, printed: dict[tuple[str, int], tuple[str, ...]]) -> Chosen:
    """The paper's exemplars; of each SAE some whose effects were measured; others, half of them typed."""
    generator, chosen = np.random.default_rng(0), list(printed)
    for sae in SAES:
        measured = built.read(sae, "effects", EFFECTS)["feature"].unique()
        picked = generator.choice(measured, MEASURED, replace=False).tolist()
        chosen += [(sae, feature) for feature in picked if (sae, feature) not in chosen]
    number = 0
    while len(chosen) < FEATURES:
        sae = SAES[number % len(SAES)]
        types = built.types(sae)["type"]
        mine = types.index[(types != "unclassified") == bool(number % 2)]
        feature = int(generator.choice(mine if len(mine) else types.index))
        chosen += [(sae, feature)] * ((sae, feature) not in chosen)
        number += 1
    assert len(set(chosen)) == len(chosen) == FEATURES and {sae for sae, _ in chosen} == set(SAES)
    return sorted(chosen)


@pytest.fixture
def analyzers(built_mini: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], SAEfeatureAnalyzer]:
    """SAE -> the notebook's, in the folder of the built project."""
    monkeypatch.chdir(built_mini)

    @cache
    def of(sae: str) -> SAEfeatureAnalyzer:
        adapter, _, _ = SAEAdapter.from_pretrained("data/mini/saes", sae)
        return SAEfeatureAnalyzer(HookedModel(hub.load_model("data/mini"), adapter))

    return of


@pytest.fixture
def visit() -> Iterator[Visit]:
    with chromium() as browser:
        yield Visit(browser)


@pytest.fixture
def address(built_mini: Path) -> str:
    return (built_mini / "results/mini/browser/index.html").as_uri()


def test_fifty_features_read_alike_on_both_pages_and_as_the_tables_have_them(
    analyzers: Callable[[str], SAEfeatureAnalyzer],
    built: Built,
    features: Chosen,
    address: str,
    visit: Visit,
) -> None:
    """Numbers, names, sets, bars and the null's shape; the tables themselves are the third witness."""
    theirs: Any = visit.context.new_page()
    for sae, feature in features:
        page = visit.open(f"{address}#layer={sae}&feature={feature}")
        page.wait_for_selector(f"#page-moments-{VIEW} dd", state="attached")
        theirs.set_content(analyzers(sae).get_feature_page(feature, live=False, hide=["activations"]).html)
        for part, inner in PARTS.items():
            found = texts(theirs, f"#page-{part}", inner)
            # The study has transported weights too: what is of a view stands there twice.
            section = f"#page-{part}" if part == "explanations" else f"#page-{part}-{VIEW}"
            assert found and found == texts(page, section, inner), (sae, feature, part)
        assert texts(theirs, "#feature header", ".chip") == texts(page, "#feature header", ".chip"), feature
        sets = set_rows(theirs, "#page-sets")
        assert sets and sets == set_rows(page, "#page-sets"), (sae, feature)
        # Without a score in any row there is no column of them.
        shown = [row[:1] + row[2:5] + (row[6:8] if len(row) > 7 else [ABSENT] * 2) for row in sets]
        assert shown == [built.evidence(sae, feature, row[0]) for row in sets], (sae, feature)
        # The tables' own, in the catalogue's form.
        own = texts(theirs, "#page-moments", "dd:not(.unit)")[: len(catalog.MOMENTS)]
        row = built.moments(sae, feature)
        assert own == [number(row[fact.key]) for fact in catalog.MOMENTS], (sae, feature)
        sides = "top", "bottom"
        weights = [weight for side in sides for weight in built.extremes(sae, feature, side)["weight"]]
        said = [text for side in sides for text in texts(theirs, f"#page-{side}", ".weight")]
        assert said == column(weights), (sae, feature)
    assert visit.said == []


def test_a_feature_s_page_shows_its_measured_effects(
    built: Built, features: Chosen, address: str, visit: Visit
) -> None:
    measured = 0
    for sae, feature in features:
        page = visit.open(f"{address}#layer={sae}&feature={feature}")
        page.wait_for_selector("#page-effects", state="attached")
        rows = [texts(row, ":scope", "td") for row in page.query_selector_all("#page-effects tbody tr")]
        assert rows == built.effects(sae, feature), (sae, feature)
        heads = texts(page, "#page-effects", "th")
        assert heads == ([fact.label for fact in catalog.EFFECTS] if rows else []), (sae, feature)
        measured += bool(rows)
    assert measured >= MEASURED * len(SAES)
    assert visit.said == []


def row_of(page: Any, place: int) -> tuple[dict[str, str], list[str]]:
    """A row of the browser's table, by the columns' keys, and its tokens."""
    keys = [head.get_attribute("data-key") for head in page.query_selector_all("#table thead th button")]
    cells = page.query_selector_all(f"#table tbody tr:nth-child({place + 1}) td")
    found = dict(zip(keys, (" ".join(cell.inner_text().split()) for cell in cells), strict=True))
    return found, [
        one.text_content() for one in page.query_selector_all(f"#table tbody tr:nth-child({place + 1}) code")
    ]


def test_the_browser_s_table_has_the_same_in_a_feature_s_row(
    built: Built, features: Chosen, address: str, visit: Visit
) -> None:
    for sae, feature in features:
        state = f"layer={sae}&sort=feature&order=up&page={feature // ROWS}"
        page = visit.open(f"{address}#{state}")
        found, tokens = row_of(page, feature % ROWS)
        moments, kind = built.moments(sae, feature), built.types(sae).loc[feature]
        best = built.read(sae, "best_sets", BEST_SETS).set_index("feature").loc[feature]
        wanted = {
            "feature": str(feature),
            "type": type_label(kind["type"]),
            "evidence": number(kind["evidence"]),
            **{name: number(moments[name]) for name in ("skewness", "kurtosis", "std", "mean", "norm")},
            **{name: number(moments[name]) for name in ("tail_tokens", "left_tail_tokens")},
            "log10_density": catalog.density(moments["log10_density"], alive=bool(moments["alive"]))[0],
            "effect": built.effect(sae, feature),
            "explanation": " ".join(built.explanation(sae, feature).split()),
        }
        for side in ("promoted", "suppressed"):
            wanted[side] = best[side] if isinstance(best[side], str) else ABSENT
            wanted[f"{side}_log10_q"] = catalog.rate(best[f"{side}_log10_q"])
        found.pop("top")
        assert found == wanted, (sae, feature)
        own = built.extremes(sae, feature, "top")["token"].head(5)
        assert tokens == [legible(token, limit=TOKEN_LIMIT) for token in own], (sae, feature)
    assert visit.said == []


def test_the_paper_s_exemplars_have_the_tables_numbers(
    printed: dict[tuple[str, int], tuple[str, ...]], built: Built
) -> None:
    for (sae, feature), numbers in printed.items():
        row = built.moments(sae, feature)
        # A zero has no sign there.
        made = f"{row['std'] / row['norm']:.3f}", f"{row['skewness']:z.2f}", f"{row['kurtosis']:.2f}"
        assert numbers == made, (sae, feature)
