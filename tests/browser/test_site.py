"""A study's browser in Chromium, opened as a file: what a person does, and that the tables are seen."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.path
import numpy as np
import pandas as pd
import pytest

from fsrl.browser.site import write
from fsrl.figures.style import percent
from fsrl.names import LABELS, type_label
from fsrl.pages import page as dashboard
from fsrl.pages import record
from fsrl.pages.facts import FeatureRows, from_rows
from fsrl.pages.sets import SetRow
from fsrl.pages.text import TOKEN_LIMIT, power
from fsrl.pages.text import column as signed
from fsrl.pages.text import number as printed
from fsrl.tokens.text import legible
from tests.fixtures import browser_study
from tests.fixtures.browser_study import HOSTILE, SAES, SAID
from tests.fixtures.driven_browser import PARTS, Visit, chromium, set_rows, texts

FIRST = f"layer={SAES[0]}"
LONG = "W" * 60  # a token of the made-up vocabulary, which is cut where it is shown


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("study") / "a folder" / "browser"
    site, layers = browser_study.write_small(folder)
    return SimpleNamespace(site=site, layers=layers, folder=folder, address=(folder / "index.html").as_uri())


@pytest.fixture(scope="module")
def browser() -> Any:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Any) -> Any:
    found = Visit(browser)
    yield found
    found.context.close()
    assert found.said == []  # no error, no warning, no alert


def column(page: Any, key: str) -> list[str]:
    """The cells of a column of the table, as shown."""
    heads = page.locator("#table thead th button").all()
    place = [head.get_attribute("data-key") for head in heads].index(key) + 1
    return page.locator(f"#table tbody td:nth-child({place})").all_inner_texts()


def test_a_transcoder_s_page_says_where_it_reads_and_writes(visit: Visit, tmp_path: Path) -> None:
    site, layers = browser_study.small()
    hook, reads = "blocks.7.hook_mlp_out", "blocks.7.ln2.hook_normalized"
    layers[1] = replace(layers[1], hook=hook, reads=reads)
    layers[2] = replace(layers[2], hook=hook)
    write(site, layers, tmp_path / "browser")
    page = visit.open((tmp_path / "browser/index.html").as_uri() + f"#layer={SAES[1]}&feature=3")
    assert "transcoders made-up saes" in str(page.text_content("#place"))
    said = page.locator("#feature .place").inner_text()
    for part in (f"transcoder {SAES[1]}", f"reads {reads}", f"writes {hook}", "feature 3"):
        assert part in said, said
    page = visit.open((tmp_path / "browser/index.html").as_uri() + f"#layer={SAES[2]}&feature=3")
    said = page.locator("#feature .place").inner_text()
    assert f"SAE {SAES[2]}" in said and f"hook {hook}" in said and "reads" not in said
    page = visit.open((tmp_path / "browser/index.html").as_uri() + f"#{FIRST}&feature=3")
    said = page.locator("#feature .place").inner_text()
    assert f"hook {SAES[0]}" in said and "SAE" not in said


def features(page: Any) -> list[int]:
    return [int(text) for text in column(page, "feature")]


def table_of(made: Any, number: int = 0) -> Any:
    """The oracle: moments, type and evidence of a layer's features."""
    layer = made.layers[number]
    types = layer.types[layer.types["scheme"] == "calibrated"].set_index("feature")
    return layer.shown.moments.set_index("feature").join(types[["type", "evidence"]])


def test_it_opens_as_a_file_and_asks_for_nothing_beyond_its_folder(made: Any, visit: Visit) -> None:
    page = visit.open(made.address)
    assert page.title() == f"{SAES[0]} – made up <b>"
    assert page.locator("#layers button").count() == 3
    assert page.inner_text("#count") == "60 of 60 features"
    inside = made.folder.as_uri() + "/"
    asked = [url for url in visit.asked if url != "about:blank" and not url.startswith("data:")]
    assert asked and all(url.startswith(inside) for url in asked)
    # A chunk is asked for when it is needed, and once.
    assert sorted(url.removeprefix(inside) for url in asked if "/data/" in url) == [
        "data/0/features.js", "data/study.js", "data/tokens.js",
    ]  # fmt: skip
    visit.drawn(lambda: page.keyboard.press("]"))
    assert visit.asked[-1] == inside + "data/1/features.js"
    assert page.title().startswith(SAES[1])


def test_rows_are_sorted_by_any_column_nulls_last(made: Any, visit: Visit) -> None:
    page = visit.open(made.address + f"#{FIRST}")
    wanted = table_of(made)
    for key in ("skewness", "kurtosis", "std", "mean", "norm"):
        visit.drawn(lambda key=key: page.click(f"#table button[data-key={key}]"))
        order = wanted[key].sort_values(ascending=False, kind="stable", na_position="last")
        assert features(page) == order.index[:50].tolist(), key
        assert page.get_attribute(f"#table th:has(button[data-key={key}])", "aria-sort") == "descending"
        visit.drawn(lambda key=key: page.click(f"#table button[data-key={key}]"))
        order = wanted[key].sort_values(kind="stable", na_position="last")
        assert features(page) == order.index[:50].tolist(), key
    visit.drawn(lambda: page.click("#after"))
    assert features(page) == order.index[50:].tolist()
    assert page.inner_text("#where") == "51–60"


def test_filters_by_type_set_and_explanation(made: Any, visit: Visit) -> None:
    page = visit.open(made.address + f"#{FIRST}")
    wanted = table_of(made)
    name = wanted["type"].value_counts().drop(["unclassified", "degenerate"]).index[0]
    visit.drawn(lambda: page.check(f"#types input[value={name}]"))
    assert sorted(features(page)) == wanted.index[wanted["type"] == name].tolist()
    assert set(column(page, "type")) == {type_label(name)}
    visit.drawn(lambda: page.click("#clear"))
    best = made.layers[0].best_sets
    visit.drawn(lambda: page.fill("#set", "quote"))
    either = (best["promoted"] == "quote") | (best["suppressed"] == "quote")
    assert set(features(page)) == set(best.loc[either, "feature"]) and either.any()
    visit.drawn(lambda: page.fill("#set", ""))
    visit.drawn(lambda: page.fill("#text", "<SCRIPT>"))
    assert features(page) == [1]
    assert column(page, "explanation") == [SAID]


def test_which_features_promote_a_token_over_all_layers(made: Any, visit: Visit) -> None:
    page = visit.open(made.address)
    extremes = [layer.shown.extremes for layer in made.layers]
    visit.drawn(lambda: page.select_option("#scope", "all"))
    assert page.inner_text("#count") == "180 of 180 features"
    assert sum((rows["token"] == LONG).sum() for rows in extremes)
    for typed, stored in (
        (" the", ["Ġthe"]),
        ("the", ["Ġthe"]),
        ("Ġthe", []),
        (LONG, [LONG]),  # whole, and as it is shown
        (legible(LONG, limit=TOKEN_LIMIT), [LONG]),
        (LONG[1:], []),
        (HOSTILE, [browser_study.spelled(HOSTILE)]),
    ):
        for side, sides in (("top", ["top"]), ("either", ["top", "bottom"])):
            page.select_option("#side", side)
            visit.drawn(lambda typed=typed: page.fill("#token", "x" + typed))
            visit.drawn(lambda typed=typed: page.fill("#token", typed))
            wanted = {
                (SAES[i], feature)
                for i, rows in enumerate(extremes)
                for feature in rows[rows["token"].isin(stored) & rows["side"].isin(sides)]["feature"]
            }
            found = set(zip(column(page, "layer"), features(page), strict=True)) if wanted else set()
            assert found == set(sorted(wanted)[:]) or len(wanted) > 50, (typed, side)
            assert page.inner_text("#count").startswith(f"{len(wanted)} of 180")
            assert ("no such token" in page.inner_text("#count")) is (not stored)
            ranks = [abs(int(text.replace("−", "-"))) for text in (column(page, "rank") if wanted else [])]
            assert ranks == sorted(ranks)
    assert page.get_attribute("#token", "aria-invalid") == "false"


def drag(page: Any, *corners: tuple[float, float]) -> None:
    """Draw with the mouse through places of the canvas, in shares of its width and height."""
    box = page.locator("#canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


@pytest.mark.parametrize("mode", ["box", "lasso"])
def test_a_selection_in_the_plane_is_the_table(made: Any, visit: Visit, mode: str) -> None:
    page = visit.open(made.address + f"#{FIRST}")
    page.click(f"[data-mode={mode}]")
    corners = [(0.15, 0.3), (0.15, 0.85), (0.6, 0.85), (0.6, 0.3)]
    visit.drawn(lambda: drag(page, *(corners if mode == "lasso" else [corners[0], corners[2]])))
    found = sorted(features(page))
    # The oracle: the corners in the address, which are in units of the axes.
    corners = re.search(r"region=([^&]*)", page.url)[1].replace("%2C", ",").replace("%3B", ";")
    places = [tuple(map(float, corner.split(","))) for corner in corners.split(";")]
    moments = table_of(made)
    axes = np.c_[np.arcsinh(moments["skewness"]), np.log(moments["kurtosis"])]
    inside = matplotlib.path.Path(places).contains_points(np.nan_to_num(axes, nan=1e9))
    assert found == np.flatnonzero(inside).tolist()
    assert 0 < len(found) < 60
    assert "within the selection" in page.inner_text("#count")
    page.focus("#canvas")
    visit.drawn(lambda: page.keyboard.press("Escape"))
    assert page.inner_text("#count") == "60 of 60 features"


def test_a_feature_opens_the_next_follows_and_the_address_brings_it_back(made: Any, visit: Visit) -> None:
    page = visit.open(made.address + f"#{FIRST}")
    visit.drawn(lambda: page.click("#table button[data-key=kurtosis]"))
    order = table_of(made)["kurtosis"].sort_values(ascending=False, kind="stable").index
    visit.drawn(lambda: page.click("#table tbody tr:first-child a"))
    assert page.inner_text("#feature h1") == f"Feature {order[0]} of {SAES[0]}" and page.is_hidden("#list")
    visit.drawn(lambda: page.keyboard.press("ArrowRight"))
    assert page.inner_text("#feature h1") == f"Feature {order[1]} of {SAES[0]}"
    visit.drawn(lambda: page.click("#feature a[rel=next]"))
    shown, address = page.inner_text("#feature"), page.url
    assert (
        page.get_attribute("#feature a[rel*=external]", "href")
        == f"https://neuronpedia.org/made/up/{order[2]}"
    )
    visit.open(address)
    assert page.inner_text("#feature") == shown
    visit.drawn(lambda: page.keyboard.press("Escape"))
    assert features(page)[:3] == order[:3].tolist() and page.is_visible("#list")
    # Neighbours of the layer and of the others lead to their own pages.
    visit.drawn(lambda: page.click("#table tbody tr:first-child a"))
    near = made.layers[0].neighbours
    row = near[(near["feature"] == order[0]) & (near["sae"] == SAES[2])].iloc[0]
    visit.drawn(lambda: page.click("#page-same tbody tr:nth-child(3) a"))
    assert page.inner_text("#feature h1") == f"Feature {row['neighbour']} of {SAES[2]}"


def test_contexts_are_those_of_the_table(made: Any, visit: Visit) -> None:
    page = visit.open(made.address + f"#{FIRST}&feature=4")
    rows = made.layers[0].contexts
    lines = page.locator("#page-examples li").all()
    for line, row in zip(lines, rows[rows["feature"] == 4].itertuples(), strict=True):
        assert line.locator(".activation").inner_text() == printed(row.activation)
        tokens = [legible(made.site.tokens[i], limit=48) for i in row.token_ids]
        assert line.locator("bdi").all_text_contents() == tokens
        assert line.locator(".peak").all_text_contents() == [tokens[row.peak]]
        shaded = [style is not None for style in page_styles(line)]
        assert shaded == [share > 0 for share in row.shares]
        said = line.locator("bdi").evaluate_all("(all) => all.map((one) => one.title)")
        assert said == [f"{share} % of {printed(row.activation)}" for share in row.shares]
    assert "a text <i>" in page.inner_text("#page-examples")


def page_styles(line: Any) -> list[str | None]:
    return [one.get_attribute("style") for one in line.locator("bdi").all()]


def test_the_state_is_in_the_address(made: Any, visit: Visit) -> None:
    page = visit.open(made.address)
    visit.drawn(lambda: page.keyboard.press("]"))
    visit.drawn(lambda: page.fill("#token", " the"))
    visit.drawn(lambda: page.click("#table button[data-key=std]"))
    visit.drawn(lambda: page.click("#zoom-in"))
    visit.drawn(lambda: page.select_option("#color", "evidence"))
    shown, address = page.inner_text("#table"), page.url
    other = visit.open(address)
    assert other.inner_text("#table") == shown
    assert other.input_value("#token") == " the" and other.input_value("#color") == "evidence"
    assert other.get_attribute("#layers button[data-layer='1']", "aria-pressed") == "true"
    assert other.url == address


def test_an_address_with_a_layer_of_another_study_says_so(made: Any, visit: Visit) -> None:
    page = visit.open(made.address + "#layer=blocks.99.hook_resid_pre")
    said = page.inner_text("#status")
    assert "blocks.99.hook_resid_pre" in said and SAES[0] in said
    visit.drawn(lambda: page.click("#layers button[data-layer='1']"))
    assert page.inner_text("#status") == ""


def test_the_shown_rows_are_exported(made: Any, visit: Visit) -> None:
    page = visit.open(made.address + f"#{FIRST}&sort=feature&order=up")
    with page.expect_download() as download:
        page.click("#export")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    wanted = table_of(made)
    assert [int(row["feature"]) for row in rows] == wanted.index.tolist()
    for key in ("skewness", "kurtosis", "std", "mean"):
        for row, value in zip(rows, wanted[key], strict=True):
            assert (float(row[key]) if row[key] else float("nan")) == pytest.approx(
                value, rel=1e-5, nan_ok=True
            )
    assert [row["type"] for row in rows] == wanted["type"].tolist()
    assert rows[1]["explanation"] == SAID


def test_foreign_text_is_text(made: Any, visit: Visit) -> None:
    """Without the policy too: nothing but escaping keeps a script in a token from running."""
    index = made.folder / "bare.html"
    bare, removed = re.subn(r"<meta http-equiv[^>]*>", "", (made.folder / "index.html").read_text())
    assert removed == 1
    index.write_text(bare)
    token = browser_study.spelled(HOSTILE)
    extremes = made.layers[0].shown.extremes
    feature = extremes.loc[(extremes["token"] == token) & (extremes["side"] == "top"), "feature"].iloc[0]
    for address in (
        f"#{FIRST}&token={HOSTILE}",
        f"#{FIRST}&feature={feature}",
        f"#{FIRST}&feature=1",
        f"#{FIRST}&text={SAID}",
    ):
        page = visit.open(index.as_uri() + address)
        page.wait_for_timeout(100)
        assert legible(token) in page.inner_text("body") or SAID in page.inner_text("body")
        assert page.locator("img, #feature script, #table script, #table b:not(.chip)").count() == 0
    index.unlink()


def test_keys_alone_reach_everything(made: Any, visit: Visit) -> None:
    page = visit.open(made.address)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "token"
    page.keyboard.press("Escape")
    page.focus("#table tbody tr:first-child a")
    page.keyboard.press("ArrowDown")
    second = page.evaluate("document.activeElement.textContent")
    assert int(second) == features(page)[1]
    visit.drawn(lambda: page.keyboard.press("Enter"))
    assert page.inner_text("#feature h1").startswith(f"Feature {second} of")
    visit.drawn(lambda: page.keyboard.press("Escape"))
    page.focus("#canvas")
    for key in ("+", "ArrowLeft", "ArrowUp", "-"):
        visit.drawn(lambda key=key: page.keyboard.press(key))
    visit.drawn(lambda: page.keyboard.press("b"))
    assert "within the selection" in page.inner_text("#count")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_can_be_read(made: Any, browser: Any, width: int, scheme: str) -> None:
    visit = Visit(browser, viewport={"width": width, "height": 800}, color_scheme=scheme)
    for address in ("", f"#{FIRST}&feature=1", f"#layer={SAES[1]}&feature=2"):
        page = visit.open(made.address + address)
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
        colors = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        ink, ground = (sum(map(int, re.findall(r"\d+", color)[:3])) for color in colors)
        assert (ink > ground + 400) if scheme == "dark" else (ground > ink + 400)
        # Whatever is drawn says what it is, and whatever is asked for has a name.
        for picture in page.locator("canvas:visible, svg[role=img]:visible").all():
            assert len(picture.get_attribute("aria-label")) > 10
        fields = "[...document.querySelectorAll('input, select, button')]"
        named = "(one) => one.textContent.trim() || one.labels?.length || one.ariaLabel"
        assert page.evaluate(f"{fields}.filter((one) => !({named})(one)).map((one) => one.outerHTML)") == []
    assert visit.said == []
    visit.context.close()


# ---- one answer everywhere
def set_rows_of(layer: Any, feature: int) -> list[SetRow]:
    """The sets that a page lists: of each side the significant ones, ten at most, or its best."""
    best = layer.best_sets.iloc[feature]
    rows = pd.DataFrame(
        {"set": layer.sets} | {name: values[feature] for name, values in layer.statistics.items()}
    )
    rows = rows.merge(layer.scores[layer.scores["feature"] == feature].drop(columns="feature"), how="left")
    found = []
    for side, sign in (("promoted", 1), ("suppressed", -1)):
        n = best[f"n_{side}"]
        mine = rows[sign * rows["t"] > 0].sort_values("log10_p", kind="stable").head(max(1, min(10, n)))
        for rank, one in enumerate(mine.itertuples()):
            q = best[f"{side}_log10_q"] if one.set == best[side] else np.nan
            found.append(SetRow(one.set, side, one.z, one.t, one.log10_p, q, rank < n, one.auc, one.es))
    return found


def ranks_of(layer: Any, row: Any) -> dict[str, list[float | None]]:
    """Share of the null directions of each kind that lie below the feature, ties counted by half."""
    found = {}
    for name in ("mean", "std", "skewness", "kurtosis"):
        over = "norm" if name in ("mean", "std") else None
        own = np.nan if over and not row[over] else row[name] / (row[over] if over else 1)
        found[name] = []
        for _, null in layer.null.groupby("kind"):
            drawn = null[name] / (null[over] if over else 1)
            share = (drawn < own).mean() + (drawn == own).mean() / 2
            found[name].append(None if np.isnan(own) else float(share))
    return found


def facts_of(made: Any, number: int, feature: int) -> Any:
    """The facts of a feature as the notebook's page has them, from the tables and by `fsrl.pages.facts`."""
    layer = made.layers[number]
    row = table_of(made, number).loc[feature]
    sets = None if layer.statistics is None else set_rows_of(layer, feature)
    said = []
    if layer.explanations is not None:
        for one in layer.explanations[layer.explanations["feature"] == feature].itertuples():
            said.append(
                {"description": one.description, "explanationModelName": one.model, "typeName": one.type}
            )
    return from_rows(
        FeatureRows(
            moments=row,
            type_name=row["type"],
            scheme="calibrated",
            histogram=layer.shown.histograms.iloc[feature],
            extremes=layer.shown.extremes[layer.shown.extremes["feature"] == feature],
            sets=sets,
            ranks=ranks_of(layer, row),
            shapes=record.shapes(layer.shapes),
        ),
        study="made-up",
        hook=layer.hook,
        feature=feature,
        explanations=said,
        view="trained",
    )


def test_fifty_features_are_the_same_on_both_pages_and_in_the_tables(made: Any, visit: Visit) -> None:
    """One renderer, two ways to it: a layer's chunks, and one feature's rows gathered by hand."""
    theirs = visit.context.new_page()
    checked = 0
    for number, feature in [(0, i) for i in range(0, 60, 2)] + [(2, i) for i in range(0, 60, 3)]:
        facts = facts_of(made, number, feature)
        page = visit.open(made.address + f"#layer={SAES[number]}&feature={feature}")
        theirs.set_content(dashboard.feature_page(facts))
        for part, inner in PARTS.items():
            found = texts(theirs, f"#page-{part}", inner)
            assert found == texts(page, f"#page-{part}", inner), (number, feature, part)
            assert found or part == "explanations" or facts.moments["kurtosis"] is None
        assert texts(theirs, "#feature header", ".chip") == texts(page, "#feature header", ".chip")
        assert set_rows(theirs, "#page-sets") == set_rows(page, "#page-sets")
        checked += 1
    assert checked == 50
    page = visit.open(made.address + f"#{FIRST}&sort=feature&order=up")
    wanted = table_of(made)
    for key in ("skewness", "kurtosis", "std", "mean", "norm", "evidence", "tail_tokens"):
        assert column(page, key) == [printed(value) for value in wanted[key].iloc[:50]], key


def test_scripts_print_numbers_as_python_does(made: Any, visit: Visit) -> None:
    page = visit.open(made.address)
    rng = np.random.default_rng(1)
    values = (rng.normal(size=4000) * 10.0 ** rng.integers(-9, 9, 4000)).tolist()
    # Halves, which Python rounds to the even digit.
    values += (
        [i / 32 for i in range(-200, 200)]
        + [i / 8 for i in range(1, 9000, 7)]
        + [0.0005, 1e-3, 999.5, 1e6, 0.0]
    )
    values += [float(10**k) * 1.25 for k in range(-5, 6)]
    of_one = "[format.number(v), format.number(v, 2), format.power(-Math.abs(v)), format.percent(v)]"
    found = page.evaluate(f"(values) => values.map((v) => {of_one})", values)
    for value, shown in zip(values, found, strict=True):
        assert shown == [printed(value), printed(value, 2), power(-abs(value)), percent(value)], value
    rows = np.asarray(values[:4000]).reshape(-1, 20).tolist()
    assert page.evaluate("(rows) => rows.map((row) => format.column(row))", rows) == [
        signed(row) for row in rows
    ]


def test_labels_are_those_of_the_types() -> None:
    assert LABELS[:5] == LABELS[: LABELS.index("unclassified")]  # what the page counts as typed
