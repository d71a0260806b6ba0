"""A feature's dashboard as one self-contained HTML page, for where Neuronpedia's is not to be had.

The page holds its style and its drawing, runs no script and asks for nothing: its Content-Security-Policy
(CSP) forbids both, whatever text it shows. Tokens, explanations and notes come from vocabularies and the
network, so all text is escaped (Jinja's autoescape) and made visible first (`fsrl.pages.text`).

Example: `facts = from_tables(study="mini", hook=hook, feature=17, moments=moments, ...)` of
`fsrl.pages.facts`, then `write(facts, "feature_17.html")`, or in a notebook `feature_page(facts)` in a frame.
"""

from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.figures import style as plot_style
from fsrl.moments.frames import ALIVE_LOG10_DENSITY
from fsrl.names import type_label
from fsrl.pages import catalog
from fsrl.pages import histogram as dashboard_histogram
from fsrl.pages.facts import FeatureFacts
from fsrl.pages.text import TOKEN_LIMIT, column, is_number, number, plain, power, token_parts
from fsrl.tokens.text import legible

# A shade tells activations from each other and is faint enough for black text at its strongest.
FAINTEST, STRONGEST = 0.10, 0.85
# What a page leaves out for those parts of `fsrl.neuronpedia.links.EMBED_PARTS` that it has something of. The
# field to test a text in, the buttons to steer and the link to Neuronpedia are on no page of ours.
HIDDEN = {
    "explanation": ("explanations",),
    "plots": ("histogram", "moments", "top", "bottom"),
    "activations": ("examples",),
}


def feature_page(facts: FeatureFacts, hide: Collection[str] = ()) -> str:
    """The page as text, to be stored as UTF-8; FsrlError for a type that has no colour in `plot_style`.

    hide: parts to leave out, by the names that Neuronpedia's embed has for them.
    """
    name = facts.type_name
    if name is not None and name not in plot_style.TYPE_COLORS:
        raise FsrlError(
            f"feature {facts.feature}: unknown type {plain(name)!r}; "
            f"known: {', '.join(plot_style.TYPE_COLORS)}"
        )
    color = plot_style.TYPE_COLORS[name or "unclassified"]
    return _template().render(
        facts=facts,
        chip=None if name is None else {"label": type_label(name), "color": color, "text": _ink(color)},
        moments=_moments(facts.moments, facts.unit),
        histogram=dashboard_histogram.drawing(facts),
        frame=dashboard_histogram,
        bar_color=color,
        sides=_sides(facts),
        explanations=[_explanation(row) for row in facts.explanations],
        sets=[_set(row) for row in facts.sets],
        examples=_examples(facts),
        sections=catalog.SECTIONS,
        set_facts=catalog.SETS,
        sets_note=catalog.SETS_NOTE,
        hidden=[section for part in hide for section in HIDDEN.get(part, ())],
    )


def write(facts: FeatureFacts, path: str | Path) -> None:
    """Write the page to `path`, whole or not at all."""
    page = feature_page(facts)
    with files.atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fsrl.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    return environment.get_template("feature.html")


def _moments(moments: dict[str, float | None], own: str) -> list[dict[str, str]]:
    """Label, value and unit of each moment, and how often the feature fires."""
    cells = [
        {"label": fact.label, "value": number(moments.get(fact.key)), "unit": fact.unit or plain(own)}
        for fact in catalog.MOMENTS
    ]
    log10 = moments.get(catalog.DENSITY.key)
    alive = log10 is not None and is_number(log10) and log10 >= ALIVE_LOG10_DENSITY
    value, unit = catalog.density(log10, alive=alive)
    return [*cells, {"label": catalog.DENSITY.label, "value": value, "unit": unit}]


def _sides(facts: FeatureFacts) -> list[dict[str, Any]]:
    """Top and bottom tokens with their weights, to the same decimals, and the length of each one's bar."""
    weights = [weight for _, weight in [*facts.top, *facts.bottom]]
    shown = iter(column(weights))
    largest = max((abs(weight) for weight in weights if is_number(weight)), default=0.0) or 1.0
    sides = []
    for word, rows in (("top", facts.top), ("bottom", facts.bottom)):
        lines = [
            {
                "parts": token_parts(token),
                "whole": _whole(token),
                "weight": next(shown),
                "bar": round(100 * abs(weight) / largest, 1) if is_number(weight) else 0,
            }
            for token, weight in rows
        ]
        sides.append({"word": word, "lines": lines})
    return sides


def _whole(token: str) -> str:
    """The token as it is shown when pointed at: whole, where its line cuts it."""
    whole = legible(token)
    return whole if len(whole) > TOKEN_LIMIT else ""


def _explanation(row: dict[str, Any]) -> dict[str, str]:
    said = [row.get(name) for name in ("description", "explanationModelName", "typeName")]
    description, by = catalog.explanation(*said)
    return {"description": description, "by": by}


def _set(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "set": plain(row["set"]),
        "side": plain(row["side"]),
        "z": number(row.get("z")),
        "t": number(row.get("t")),
        "p": power(row.get("log10_p")),
        "q": number(row.get("q"), 2),
        "significant": row.get("significant"),
    }


def _examples(facts: FeatureFacts) -> dict[str, Any]:
    """The examples' tokens with their shades, of the strongest activation in any of them."""
    peaks = [value for example in facts.examples for value in example["values"] if is_number(value)]
    strongest = max(peaks, default=0.0)
    lines = []
    for example in facts.examples:
        pieces = [
            {
                "parts": token_parts(token),
                "shade": _shade(value, strongest),
                "value": number(value),
                "peak": place == example["max_index"],
            }
            for place, (token, value) in enumerate(zip(example["tokens"], example["values"], strict=True))
        ]
        lines.append({"pieces": pieces, "activation": number(example["values"][example["max_index"]])})
    return {"lines": lines, "strongest": number(strongest), "stops": (FAINTEST, STRONGEST)}


def _shade(value: float, strongest: float) -> float:
    """Opacity of an activation's shade: none where it is not active."""
    if not is_number(value) or value <= 0:
        return 0.0
    return round(FAINTEST + (STRONGEST - FAINTEST) * value / strongest, 2)


def _ink(color: str) -> str:
    """Black or white, whichever is told better from a colour "#RRGGBB" (WCAG's relative luminance)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"
