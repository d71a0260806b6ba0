"""A feature's page as one self-contained HTML file, for where Neuronpedia's is not to be had.

The file holds the facts as one JSON object, of the form that a study's browser reads (`fsrl.pages.record`),
and the scripts and the style that draw them there too (`fsrl.pages.renderer`). It asks for nothing: its
Content-Security-Policy (CSP) lets this one script run and forbids every other, and every request, whatever
text the page shows. Tokens, explanations and notes come from vocabularies and the network: they are made
visible first (`fsrl.pages.text`), the JSON cannot end the element that it lies in, and scripts make text
nodes of it. Where no script may run, the page is the plain text of `fsrl.pages.bare`.

Example: `write(from_rows(rows, study="mini", hook=hook, feature=17), "feature_17.html")` with
`fsrl.pages.facts`, or in a notebook `feature_page(facts)` in a frame.
"""

import json
import re
from collections.abc import Collection
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.figures import style as plot_style
from fsrl.names import LABELS
from fsrl.pages import bare, record, renderer
from fsrl.pages.facts import FeatureFacts
from fsrl.pages.record import MOMENTS, short
from fsrl.pages.text import plain

# What a page leaves out for those parts of `fsrl.neuronpedia.links.EMBED_PARTS` that it has something of. The
# field to test a text in, the buttons to steer and the link to Neuronpedia are on no page of ours.
HIDDEN = {
    "explanation": ("explanations",),
    "plots": ("histogram", "moments", "top", "bottom"),
    "activations": ("examples",),
}
POLICY = (
    f"default-src 'none'; script-src {renderer.POLICY_SOURCE}; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def feature_page(facts: FeatureFacts, hide: Collection[str] = ()) -> str:
    """The page as text, to be stored as UTF-8; FsrlError for a type that has no colour in `plot_style`.

    hide: parts to leave out, by the names that Neuronpedia's embed has for them.
    """
    given = record_of(facts, hide)
    parts = {
        "policy": POLICY,
        "title": escape(given["title"]),
        "style": renderer.STYLE,
        "plain": bare.body(given),
        # No text can end the element: "</script>" and "<!--" begin with the character that is spelled here.
        "facts": json.dumps(given, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace(
            "<", "\\u003c"
        ),
        "script": renderer.SCRIPT,
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: parts[found[1]], renderer.DOCUMENT)


def write(facts: FeatureFacts, path: str | Path) -> None:
    """Write the page to `path`, whole or not at all."""
    page = feature_page(facts)
    with files.atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def record_of(facts: FeatureFacts, hide: Collection[str] = ()) -> dict[str, Any]:
    """What the scripts draw: study, tokens, row and page (see `fsrl.pages.record`), title and hidden
    sections.
    """
    name = facts.type_name
    if name is not None and name not in plot_style.TYPE_COLORS:
        raise FsrlError(
            f"feature {facts.feature}: unknown type {plain(name)!r}; "
            f"known: {', '.join(plot_style.TYPE_COLORS)}"
        )
    ids = _Ids()
    tokens_of = {side: [ids[token] for token, _ in getattr(facts, side)] for side in ("top", "bottom")}
    row: dict[str, Any] = {key: short(facts.moments.get(key)) for key in MOMENTS}
    row |= {"type": None if name is None else LABELS.index(name), "dead": int(facts.dead), **tokens_of}
    said = ("description", "explanationModelName", "typeName")
    row["explanations"] = [record.of_explanation(*map(one.get, said)) for one in facts.explanations]
    page = _page(facts, ids)
    layer = {"sae": plain(facts.hook), "hook": plain(facts.hook), "shapes": facts.shapes, "has": []}
    study = record.study(
        study=facts.study,
        view=facts.view,
        scheme=facts.scheme,
        unit=facts.unit,
        text=facts.examples_from,
        sets=[one.set for one in facts.sets or ()],
        layers=[layer],
    )
    return {
        "title": plain(facts.title),
        "study": study,
        "tokens": record.vocabulary(list(ids)),
        "layer": 0,
        "feature": facts.feature,
        "row": row,
        "page": page,
        "hidden": [section for part in hide for section in HIDDEN.get(part, ())],
    }


class _Ids(dict[str, int]):
    """Token -> its id on this page, in the order in which they are first asked for."""

    def __missing__(self, token: str) -> int:
        self[token] = len(self)
        return self[token]


def _page(facts: FeatureFacts, ids: _Ids) -> dict[str, Any]:
    weights = {side: [weight for _, weight in getattr(facts, side)] for side in ("top", "bottom")}
    beyond = (facts.underflow, facts.overflow)
    found = record.of_weights(weights, np.asarray(facts.counts), beyond, facts.spread)
    if facts.ranks:
        found["ranks"] = dict(facts.ranks)
    if facts.sets is not None:
        found["sets"] = [record.of_set(place, one) for place, one in enumerate(facts.sets)]
    found["examples"] = [_context(one, ids) for one in facts.examples]
    return found | {"notes": [plain(note) for note in facts.notes]}


def _context(example: dict[str, Any], ids: _Ids) -> list[Any]:
    peak, place = example["values"][example["max_index"]], example["max_index"]
    shares = [
        None if value is None or not peak else short(100 * value / peak, 3) for value in example["values"]
    ]
    return record.of_context(peak, place, [ids[token] for token in example["tokens"]], shares)
