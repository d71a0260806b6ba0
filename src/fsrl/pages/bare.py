"""A feature's page in plain HTML, for where no script may run: its numbers, tokens, sets and notes.

It is made of what the scripts draw (`fsrl.pages.page.record_of`) and prints the same numbers; they put the
whole page in its place.
"""

from html import escape
from typing import Any

from fsrl.pages import catalog
from fsrl.pages.text import column, number, power

NOTE = "Histogram and contexts are drawn by a script, which may not run here: open the page by itself."


def body(given: dict[str, Any]) -> str:
    """HTML of the sections that are not hidden."""
    study, row = given["study"], given["row"]
    place = [("study", study["study"]), ("hook", study["layers"][given["layer"]]["hook"])]
    place += [("view", study["view"]), ("type", _type(given))]
    parts = {
        "explanations": _list(f"{text} (by {by})" for text, by in row["explanations"]),
        "moments": _list(f"{label}: {value} ({unit})" for label, value, unit in moments(given)),
        **{side: _list(line) for side, line in _tokens(given).items()},
        "sets": _list(_set(study["sets"], one) for one in given["page"].get("sets", [])),
        "notes": _list(given["page"]["notes"]),
    }
    said = "; ".join(f"{name} {escape(text)}" for name, text in place if text)
    shown = [
        f"<h2>{study['sections'][name]}</h2>\n{part}"
        for name, part in parts.items()
        if part and name not in given["hidden"]
    ]
    return "\n".join(
        [f"<h1><bdi>{escape(given['title'])}</bdi></h1>", f"<p>{said}</p>", *shown, f"<p>{NOTE}</p>"]
    )


def moments(given: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and unit of each moment, and how often the feature fires."""
    row = given["row"]
    cells = [
        (fact.label, number(row[fact.key]), fact.unit or given["study"]["unit"]) for fact in catalog.MOMENTS
    ]
    value, unit = catalog.density(row[catalog.DENSITY.key], alive=not row["dead"])
    return [*cells, (catalog.DENSITY.label, value, unit)]


def _type(given: dict[str, Any]) -> str:
    at, scheme = given["row"]["type"], given["study"]["scheme"]
    if at is None:
        return "not at hand"
    return given["study"]["types"][at]["label"] + (f" by scheme {scheme}" if scheme else "")


def _tokens(given: dict[str, Any]) -> dict[str, list[str]]:
    """Side -> token and weight of each, with the same decimals on both."""
    shown, row, page = given["tokens"]["shown"], given["row"], given["page"]
    weights = iter(column([*page["top_weights"], *page["bottom_weights"]]))
    return {side: [f"{shown[i]} {next(weights)}" for i in row[side]] for side in ("top", "bottom")}


def _set(names: list[str], row: list[Any]) -> str:
    place, promoted, z, t, p, q, significant, *_ = row
    side = "promoted" if promoted else "suppressed"
    said = "significant" if significant else "not significant"
    return f"{names[place]}: {side}, z {number(z)}, t {number(t)}, p {power(p)}, q {catalog.rate(q)}, {said}"


def _list(lines: Any) -> str:
    found = "".join(f"<li><bdi>{escape(line)}</bdi></li>" for line in lines)
    return f"<ul>{found}</ul>" if found else ""
