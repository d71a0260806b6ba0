"""LaTeX tables of measured effects: how far the logits change as the logit weights say, layer by layer."""

import pandas as pd

from fsrl.effects.summary import ALL
from fsrl.hooks import hook_label
from fsrl.latex import text as tex
from fsrl.latex.table import Column, interval, tabular
from fsrl.names import TYPES, UNCLASSIFIED, type_label

STEP = "+1"
STATES = {"active": "feature active", "inactive": "feature inactive"}


def effects(summary: pd.DataFrame) -> str:
    """Agreement of measured change and logit weights by layer, all types weighted by their numbers, step +1.

    summary: table `effect_summary`. A block for each state of the feature at the positions.
    """
    rows = summary[(summary["type"] == ALL) & (summary["step"] == STEP)]
    rows = _by_state(rows)
    columns = [
        Column("Layer", [rf"\quad {tex.escape(hook_label(sae))}" for sae in rows["sae"]]),
        Column("$n$", [tex.count(value, bare=True) for value in rows["features"]], "S"),
        *_with_interval("feature", rows, "pearson"),
        _figures("random", rows["random"]),
        _figures("other", rows["other"]),
        *_with_interval("difference", rows, "difference"),
        *_with_interval("type kept", rows, "kept"),
        _figures("slope", rows["slope"]),
    ]
    related, other = columns[2:8], columns[8:]
    groups = [("", 2), ("correlation with the logit weights", len(related)), ("", len(other))]
    return tabular(columns, groups=groups, headings=_headings(rows), tabcolsep=4)


def effects_by_type(summary: pd.DataFrame) -> str:
    """Features' agreement less that of random directions, by layer and type, with intervals; step +1."""
    rows = summary[summary["step"] == STEP]
    states = [state for state in STATES if (rows["state"] == state).any()]
    saes = list(dict.fromkeys(rows["sae"]))
    index = pd.DataFrame([(state, sae) for state in states for sae in saes], columns=["state", "sae"])
    columns = [Column("Layer", [rf"\quad {tex.escape(hook_label(sae))}" for sae in index["sae"]])]
    for name in [*(name for name in TYPES if (rows["type"] == name).any()), UNCLASSIFIED]:
        of = index.merge(rows[rows["type"] == name], on=["state", "sae"], how="left", validate="1:1")
        found = _with_interval(type_label(name), of, "difference")
        # Five types with intervals fill the page; the many features without one have the narrowest.
        columns += found[:1] if name == UNCLASSIFIED else found
    return tabular(columns, headings=_headings(index), size="scriptsize", tabcolsep=1.5)


def _by_state(rows: pd.DataFrame) -> pd.DataFrame:
    order = rows["state"].map({state: i for i, state in enumerate(STATES)})
    return rows.assign(order=order).sort_values("order", kind="stable").reset_index(drop=True)


def _headings(rows: pd.DataFrame) -> dict[int, str]:
    return {
        int(row): rf"\emph{{{STATES[state]}}}"
        for row, state in rows.drop_duplicates("state")["state"].items()
    }


def _figures(head: str, values: pd.Series) -> Column:
    return Column(head, [tex.number(value, digits=2, bare=True) for value in values], "S")


def _with_interval(head: str, rows: pd.DataFrame, name: str) -> list[Column]:
    """An estimate and, close beside it, its 95 % interval."""
    ends = zip(rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    intervals = [interval(low, high) for low, high in ends]
    beside = [Column("", intervals, near=True)] if any(intervals) else []
    return [_figures(head, rows[name]), *beside]
