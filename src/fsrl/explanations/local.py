"""Explanations of features in words: made here from enrichment where Neuronpedia has none.

A local explanation says which token sets a feature promotes or suppresses significantly, or else only what
its extreme tokens are. It has the names of Neuronpedia's columns, so that the same code shows both, and names
fsrl as its maker, so that nobody takes one for the other. It is read off the logit weights, as the types
are: comparing it with them would be going in a circle.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from fsrl.errors import FsrlError
from fsrl.tokens import text as token_text

LOCAL_MODEL, LOCAL_TYPE, LOCAL_SOURCE = "fsrl enrichment (local)", "local", "local"
SIDES = {"promoted": "promotes", "suppressed": "suppresses"}
ENDS = {"top": "highest", "bottom": "lowest"}
NOTHING = "no token set is significantly promoted or suppressed"
# (sets, t): as `fsrl.enrichment.store.statistic` and SetStatistics have them.
Scores = tuple[Sequence[str], Float[np.ndarray, "features n_sets"]]
Record = dict[str, Any]


def from_enrichment(
    best_sets: pd.DataFrame,
    extremes: pd.DataFrame | None = None,
    *,
    t: Scores | None = None,
    definitions: Mapping[str, str] | None = None,
    level: float = 0.05,
    tokens: int = 5,
) -> dict[int, Record]:
    """One explanation a feature: index (text), description, explanationModelName, typeName.

    best_sets: table `best_sets`, or its columns feature, promoted, promoted_log10_q, suppressed and
    suppressed_log10_q; extremes: table `extremes`, for features without a significant set; t: to be named
    beside a set; definitions: set -> in words, for names that say too little; level: largest q that counts;
    tokens: how many of each end are named. Raises FsrlError where t does not cover sets or features.
    """
    columns = ["feature", *(f"{side}{suffix}" for side in SIDES for suffix in ("", "_log10_q"))]
    if lacking := [name for name in columns if name not in best_sets]:
        raise FsrlError(f"local explanations: no column {lacking[0]}; give the table best_sets")
    shown = {} if extremes is None else _extreme_tokens(extremes, tokens)
    found = {}
    for row in best_sets[columns].itertuples(index=False, name=None):
        feature, best = int(row[0]), {"promoted": row[1:3], "suppressed": row[3:5]}
        parts = [
            f"{SIDES[side]} tokens of: {_named(str(name), definitions)} "
            f"({_t_of(t, str(name), feature)}q {_power_of_ten(log10_q)})"
            for side, (name, log10_q) in best.items()
            if not pd.isna(name) and log10_q <= math.log10(level)  # False for NaN
        ]
        text = "; ".join(parts) or "; ".join([NOTHING, *shown.get(feature, ())])
        found[feature] = _record(feature, text)
    return found


def frame(records: Mapping[int, Record | Sequence[Record]], source: str) -> pd.DataFrame:
    """The table `explanations` from records by feature, one or several each; source: whence they are.

    Lone surrogates, which JSON may carry and UTF-8 cannot, become U+FFFD; else the text is kept as it is.
    """
    rows = []
    for feature in sorted(records):
        given = records[feature]
        mine = [given] if isinstance(given, Mapping) else list(given)
        for record in mine:
            name, kind = record.get("explanationModelName"), record.get("typeName")
            rows.append((feature, len(mine), _text(record["description"]), _text(name), _text(kind), source))
    columns = ["feature", "explanations", "description", "model", "type", "source"]
    dtypes = {"feature": "int32", "explanations": "int32"} | dict.fromkeys(columns[2:], "str")
    return pd.DataFrame(rows, columns=columns).astype(dtypes)


def _record(feature: int, description: str) -> Record:
    return {
        "index": str(feature),
        "description": description,
        "explanationModelName": LOCAL_MODEL,
        "typeName": LOCAL_TYPE,
    }


def _extreme_tokens(extremes: pd.DataFrame, count: int) -> dict[int, list[str]]:
    """Of each feature: "highest logit weights: ..." and "lowest logit weights: ..."."""
    found: dict[int, list[str]] = {}
    for side, word in ENDS.items():
        mine = extremes[(extremes["side"] == side) & (extremes["rank"] < count)]
        mine = mine.sort_values(["feature", "rank"])
        for feature, tokens in _grouped(mine["feature"].to_numpy(), mine["token"].tolist()):
            legible = " ".join(token_text.legible(token) for token in tokens)
            found.setdefault(feature, []).append(f"{word} logit weights: {legible}")
    return found


def _grouped(features: Int[np.ndarray, "rows"], tokens: list[str]) -> Iterator[tuple[int, list[str]]]:
    starts = np.flatnonzero(np.diff(features, prepend=-1)).tolist()
    for start, stop in zip(starts, [*starts[1:], len(features)][: len(starts)], strict=True):
        yield int(features[start]), tokens[start:stop]


def _named(name: str, definitions: Mapping[str, str] | None) -> str:
    words = name.replace("_", " ")
    return words if definitions is None or name not in definitions else f"{words}, {definitions[name]}"


def _t_of(t: Scores | None, name: str, feature: int) -> str:
    if t is None:
        return ""
    sets, values = t
    if name not in sets or feature >= len(values):
        raise FsrlError(
            f"local explanations: t lacks set {name!r} of feature {feature}; give the same layer's"
        )
    return f"t {values[feature, list(sets).index(name)]:.1f}, "


def _power_of_ten(log10: float) -> str:
    """10 ** log10 with one digit, though it may underflow: 3e-05, 2e-400, 0.04."""
    if log10 >= -3:
        return f"{10**log10:.2g}"
    exponent = math.floor(log10)
    digit = round(10 ** (log10 - exponent))
    return f"{digit}e{exponent:+03d}" if digit < 10 else f"1e{exponent + 1:+03d}"


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in value)
