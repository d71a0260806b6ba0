"""A study's tables -> the folder of its browser: a page, what it is made of, and chunks of data.

    index.html, *.css, *.js   the page: `assets`, and what draws a feature (`fsrl.pages.renderer`)
    data/study.js             titles, layers, names and forms of the facts, a sample of each layer's features
    data/tokens.js            the vocabulary as it is shown
    data/{i}/features.js      the columns of layer i's table
    data/{i}/page{k}.js       what the pages of its features 256 k to 256 k + 255 show besides

What draws the plane was measured on 24,576 points from a file, in headless Chromium on two busy cores without
a GPU (first view; another layer): Plotly 7.1 in WebGL 3.2 to 4.6 s and 0.9 s, in SVG 5 to 15 s; Bokeh 3.9 on
a canvas, with its DataTable, 1.6 to 1.7 s and 0.6 to 0.8 s, in WebGL 2.1 to 2.8 s; a canvas of our own 0.3 to
0.5 s and 0.2 to 0.3 s. With Bokeh little of the 2 s is left for data and its table has neither links nor a
row that a key reaches, so that table, filters and pages would be own scripts all the same: `assets/plane.js`
is a canvas.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from fsrl import files
from fsrl.browser import chunks, layer
from fsrl.browser.layer import Layer, LayerTables
from fsrl.names import LABELS
from fsrl.pages import record, renderer
from fsrl.pages.text import plain

ASSETS = Path(__file__).parent / "assets"
TITLE = "{{ title }}"  # in index.html
PAGES = 256  # features of a chunk of pages: 100 to 200 KB
SAMPLED = 160  # features of each layer in the overview, typed ones first


@dataclass(frozen=True, eq=False)
class Site:
    """What a site says of its study. saes: ids in the study's order; tokens: as stored, by id;
    sets: names of the token sets; view: its name; scheme: of the types; made: provenance, by name;
    neuronpedia: of each SAE the beginning of its features' addresses, null where it is not hosted;
    transported: the name of the second view, if there is one; text: what names the text of the contexts.
    """

    study: str
    title: str
    view: str
    scheme: str
    saes: Sequence[str]
    tokens: Sequence[str]
    sets: Sequence[str]
    neuronpedia: Sequence[str | None]
    unit: str = "logit per unit of activation"
    transported: str | None = None
    text: str | None = None
    made: Mapping[str, str] = field(default_factory=dict)


def write(site: Site, layers: Iterable[LayerTables], folder: str | Path) -> None:
    """Write the site into `folder`, whole or not at all; layers are read one after the other, in order."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.temporary_folder("browser", within=folder.parent) as temporary:
        made = temporary / "site"
        made.mkdir()
        _write_page(site, made)
        chunks.write(made, "tokens", record.vocabulary(site.tokens))
        described = [_write_layer(site, number, one, made) for number, one in enumerate(layers)]
        chunks.write(made, "study", _study(site, described))
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def _write_page(site: Site, folder: Path) -> None:
    for path in (*sorted(ASSETS.iterdir()), *renderer.FILES):
        shutil.copyfile(path, folder / path.name)
    page = folder / "index.html"
    said = escape(plain(f"{site.title}: features"))
    page.write_text(page.read_text("utf-8").replace(TITLE, said), encoding="utf-8", newline="\n")


def _write_layer(site: Site, number: int, tables: LayerTables, folder: Path) -> dict[str, Any]:
    """Write a layer's chunks; what the study's own says of it."""
    made = layer.of_tables(tables, scheme=site.scheme, saes=site.saes, sets=site.sets)
    n = len(made.columns["type"])
    chunks.write(folder, f"{number}/features", made.columns)
    for part, start in enumerate(range(0, n, PAGES)):
        pages = [made.page(feature) for feature in range(start, min(start + PAGES, n))]
        chunks.write(folder, f"{number}/page{part}", pages)
    types = np.bincount(made.columns["type"], minlength=len(LABELS))
    return {
        "sae": tables.sae,
        "hook": tables.hook,
        **({"reads": tables.reads} if tables.reads else {}),
        "features": n,
        "types": types.tolist(),
        "sample": _sample(made),
        "bounds": made.bounds,
        "has": sorted(
            name for name, values in made.columns.items() if any(value not in (None, []) for value in values)
        ),
        "shapes": record.shapes(tables.shapes),
    }


def _sample(made: Layer) -> list[list[Any]]:
    """[skewness, kurtosis, type] of some features, evenly over those with a type and over those without."""
    types = np.asarray(made.columns["type"])
    typed = types < LABELS.index("unclassified")
    chosen: list[int] = []
    for group, most in ((np.flatnonzero(~typed), SAMPLED // 2), (np.flatnonzero(typed), SAMPLED)):
        chosen += group[:: max(1, -(-len(group) // most))].tolist()
    columns = made.columns
    return [
        [record.short(columns["skewness"][i], 3), record.short(columns["kurtosis"][i], 3), int(types[i])]
        for i in chosen
        if columns["skewness"][i] is not None and columns["kurtosis"][i] is not None
    ]


def _study(site: Site, layers: list[dict[str, Any]]) -> dict[str, Any]:
    addresses = site.neuronpedia
    shared = record.study(
        study=site.study,
        view=site.view,
        scheme=site.scheme,
        unit=site.unit,
        text=site.text,
        sets=site.sets,
        layers=[one | {"neuronpedia": addresses[i]} for i, one in enumerate(layers)],
        transported=site.transported,
    )
    made = {plain(key): plain(value) for key, value in site.made.items()}
    return shared | {"title": plain(site.title), "made": made, "pages": PAGES}
