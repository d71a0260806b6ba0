"""A feature as the scripts of a page read it (`assets/page.js`), in a study's browser and alone.

    study   what all its features share: names and forms of the facts, types, layers, token sets
    tokens  their texts, by id
    row     moments, type, extreme tokens and explanations of one feature: what a table of features has too
    page    what its page shows besides: weights, histogram, ranks among nulls, sets, contexts, ...

`fsrl.browser` packs rows and pages of a whole layer into chunks, `fsrl.pages.page` puts one of each into a
file of its own; both make them here. Numbers have as few digits as print the same as the table's own. Needs
no Torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fsrl.figures import style
from fsrl.names import BOUNDING, LABELS, type_label
from fsrl.pages import catalog
from fsrl.pages.sets import SetRow
from fsrl.pages.text import TOKEN_LIMIT, plain
from fsrl.tokens.text import legible

# Columns of the table `moments` that a row has.
MOMENTS = ("mean", "std", "skewness", "kurtosis", "norm", "log10_density")
RANKED = ("mean", "std", "skewness", "kurtosis")  # held against null directions; mean and std over the norm
DIGITS = 6
PAGE_DIGITS = 5  # of the numbers that pages alone show
# Of mean and std, from which pages make a histogram's edges: near 0 these are what two numbers leave.
EDGE_DIGITS = 9
# That of `fsrl.moments.formulas`, which needs Torch; a test holds the two together.
HALF_WIDTH = 8.0


def short(value: float | None, digits: int = DIGITS) -> float | int | None:
    """The number with few digits, printed as the number itself would be; None for NaN and infinity."""
    if value is None or not math.isfinite(value):
        return None
    text = f"{value:.{digits - 1}e}"
    mantissa, exponent = text.split("e")
    rounded, places = float(text), digits - 1 - int(exponent)
    # Rounding twice, to these digits and then for print, may end elsewhere than rounding once: after a 5.
    forms = (".2e", ".1e", *(f".{decimals}f" for decimals in range(places)))
    if places < 0 or (
        mantissa.rstrip("0").endswith("5") and any(f"{rounded:{form}}" != f"{value:{form}}" for form in forms)
    ):
        rounded = float(value)
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def numbers(values: Iterable[Any], digits: int = DIGITS) -> list[float | int | None]:
    """`short` of each value of a column; nulls and infinity are None."""
    column = np.asarray(values, dtype=np.float64)
    return [short(value, digits) for value in column.tolist()]


def of_weights(
    weights: Mapping[str, Iterable[float]],
    counts: np.ndarray,
    beyond: tuple[int, int],
    spread: Sequence[float | None],
) -> dict[str, Any]:
    """Extreme weights and histogram. weights: of the sides top and bottom, most extreme first; counts: tokens
    in each bin, none where there is no histogram; beyond: tokens below and above; spread: the mean and std
    around which the bins were laid, as far as they are known.
    """
    filled = np.flatnonzero(counts)
    first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
    return {
        **{f"{side}_weights": numbers(found, PAGE_DIGITS) for side, found in weights.items()},
        "histogram": [len(counts), first, *map(int, beyond), *map(int, counts[first:last])],
        "spread": [short(value, EDGE_DIGITS) for value in spread],
    }


def of_set(place: int, row: SetRow) -> list[Any]:
    """[set, whether promoted, z, t, log10_p, log10_q, significant, auc, es]; place: of the set."""
    values = (row.z, row.t, row.log10_p, row.log10_q)
    return [
        place,
        int(row.side == "promoted"),
        *(short(value, PAGE_DIGITS) for value in values),
        int(row.significant),
        *(short(value, PAGE_DIGITS) for value in (row.auc, row.es)),
    ]


def of_context(activation: float, peak: int, ids: Sequence[int], shares: Sequence[float | None]) -> list[Any]:
    """[activation, place of the peak, token ids, activations there in hundredths of the peak]."""
    return [short(activation, PAGE_DIGITS), int(peak), list(ids), list(shares)]


def of_explanation(description: str | None, model: str | None, kind: str | None) -> list[str]:
    """[text, by whom]."""
    return list(catalog.explanation(description, model, kind))


def ranks(frame: pd.DataFrame, null: pd.DataFrame) -> dict[str, list[list[float | None]]]:
    """Of each moment and feature the share of null directions below it, a number for each bounding kind.

    frame: RANKED and norm of features; null: the same of directions, with `kind`. It is null of a kind that
    was not drawn, and of a feature without a shape.
    """
    found = {}
    for name in RANKED:
        own = _unit(frame, name)
        shares = []
        for kind in BOUNDING:
            drawn = np.sort(_unit(null[null["kind"] == kind], name))
            drawn = drawn[np.isfinite(drawn)]
            below = (np.searchsorted(drawn, own, "left") + np.searchsorted(drawn, own, "right")) / 2
            shares.append(
                np.where(np.isfinite(own), below / max(len(drawn), 1), np.nan) if len(drawn) else own * np.nan
            )
        found[name] = [[short(value, 5) for value in row] for row in np.stack(shares, axis=1).tolist()]
    return found


def _unit(frame: pd.DataFrame, name: str) -> np.ndarray:
    values = frame[name].to_numpy(dtype=np.float64)
    if name not in ("mean", "std"):
        return values
    with np.errstate(invalid="ignore"):  # a row of zeros has no direction
        return values / frame["norm"].to_numpy(dtype=np.float64)


def shapes(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Kind -> [tokens below, in each bin, above] of null directions; frame: the table `null_shapes`."""
    columns = frame[["kind", "underflow", "counts", "overflow"]].itertuples(index=False)
    return {
        kind: [int(under), [int(one) for one in counts], int(over)] for kind, under, counts, over in columns
    }


def vocabulary(stored: Sequence[str]) -> dict[str, Any]:
    """Tokens as pages show them; whole: of those that are cut, by id, the whole text."""
    whole = [legible(token) for token in stored]
    return {
        "shown": [legible(token, limit=TOKEN_LIMIT) for token in stored],
        "whole": {str(i): text for i, text in enumerate(whole) if len(text) > TOKEN_LIMIT},
    }


def study(
    *,
    study: str,
    view: str | None,
    scheme: str | None,
    unit: str,
    text: str | None,
    sets: Sequence[str],
    layers: Sequence[Mapping[str, Any]],
    transported: str | None = None,
) -> dict[str, Any]:
    """What all pages of a study share. text: what names the contexts' text; sets: names; layers: of each its
    sae, hook, shapes and `has`, the columns that its rows have.
    """
    return {
        "study": plain(study),
        "view": _plain(view),
        "scheme": _plain(scheme),
        "unit": plain(unit),
        "transported": transported,
        "text": _plain(text),
        "layers": list(layers),
        "sets": [plain(name) for name in sets],
        "types": [
            {
                "name": name,
                "label": type_label(name),
                "color": style.TYPE_COLORS[name],
                "marker": style.TYPE_MARKERS[name],
            }
            for name in LABELS
        ],
        "kinds": list(BOUNDING),
        "half_width": HALF_WIDTH,
        "facts": {
            name: catalog.as_records(facts)
            for name, facts in (
                ("moments", catalog.MOMENTS),
                ("density", (catalog.DENSITY,)),
                ("sets", catalog.SETS),
                ("scores", catalog.SCORES),
                ("effects", catalog.EFFECTS),
                ("table", catalog.TABLE),
            )
        },
        "sections": catalog.SECTIONS,
        "sets_note": catalog.SETS_NOTE,
    }


def _plain(text: str | None) -> str | None:
    return None if text is None else plain(text)
