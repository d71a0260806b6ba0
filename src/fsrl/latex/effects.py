"""LaTeX tables of measured effects: how far the logits change as is predicted, hook by hook."""

import pandas as pd

from fsrl.effects.names import DIRECT, FEATURE, MATCHED, PREDICTIONS, TRANSPORTED
from fsrl.effects.summary import ALL
from fsrl.hooks import hook_label
from fsrl.latex import text as tex
from fsrl.latex.table import Column, interval, tabular
from fsrl.names import TYPES, UNCLASSIFIED, type_label

STEP = "+1"
DIFFERENCE = 3  # decimals of differences: some that differ from nought round to it at two
STATES = {"active": "feature active", "inactive": "feature inactive"}


# Columns of the table of agreement: prediction -> its head.
PREDICTED = dict(zip(PREDICTIONS, ("direct", "LayerNorm", "$T$", "own mean"), strict=True))


def agreement(by_hook: pd.DataFrame) -> str:
    """Correlation of measured and predicted change by hook and prediction, of features and of matched
    controls, and how much more T gives than the logit weights; step +1.

    by_hook: table `effects_by_hook`. A prediction that a study does not have (T where no matrices were
    measured, the own mean where it was not asked for) is left out. A block for each state of the feature.
    """
    rows = by_hook[by_hook["step"] == STEP]
    features, controls = (rows[rows["direction"] == name] for name in (FEATURE, MATCHED))
    there = [name for name in PREDICTED if (features["prediction"] == name).any()]
    best = TRANSPORTED if TRANSPORTED in there else DIRECT
    index = _by_state(features[features["prediction"] == DIRECT])[["sae", "state", "features"]]

    def at(part: pd.DataFrame, prediction: str) -> pd.DataFrame:
        of = part[part["prediction"] == prediction].drop(columns="features")
        return index.merge(of, on=["sae", "state"], how="left", validate="1:1")

    columns = [
        Column("Hook", [rf"\quad {tex.escape(hook_label(sae))}" for sae in index["sae"]]),
        Column("$n$", [tex.count(value, bare=True) for value in index["features"]], "S"),
    ]
    for name in there:
        found = _with_interval(PREDICTED[name], at(features, name), "pearson")
        columns += found if name == best else found[:1]
    columns += [_figures(PREDICTED[best], at(controls, best)["pearson"])]
    correlations = len(columns) - 3
    mine = at(features, best)
    if best == TRANSPORTED:
        columns += _with_interval("$T$ $-$ direct", mine, "over_direct", DIFFERENCE)
    columns += _with_interval("$-$ matched", mine, "over_matched", DIFFERENCE)
    columns += [_figures("slope", mine["slope"]), _figures("top 10", mine["overlap"])]
    groups = [("", 2), ("correlation, features", correlations), ("matched", 1)]
    groups += [(f"of {PREDICTED[best]}", len(columns) - 3 - correlations)]
    return tabular(columns, groups=groups, headings=_headings(index), size="scriptsize", tabcolsep=1)


def effects(summary: pd.DataFrame) -> str:
    """Agreement of measured change and logit weights by layer, all types weighted by their numbers, step +1.

    summary: table `effect_summary`. A block for each state of the feature at the positions.
    """
    rows = summary[(summary["type"] == ALL) & (summary["step"] == STEP)]
    rows = _by_state(rows)
    columns = [
        Column("Hook", [rf"\quad {tex.escape(hook_label(sae))}" for sae in rows["sae"]]),
        Column("$n$", [tex.count(value, bare=True) for value in rows["features"]], "S"),
        *_with_interval("feature", rows, "pearson"),
        _figures("matched", rows["matched"]),
        _figures("random", rows["random"]),
        _figures("other", rows["other"]),
        *_with_interval("difference", rows, "difference", DIFFERENCE),
        *_with_interval("type kept", rows, "kept"),
        _figures("slope", rows["slope"]),
    ]
    related, other = columns[2:9], columns[9:]
    groups = [("", 2), ("correlation with the logit weights", len(related)), ("", len(other))]
    return tabular(columns, groups=groups, headings=_headings(rows), tabcolsep=4)


def effects_by_type(summary: pd.DataFrame) -> str:
    """Features' agreement less that of matched controls, by layer and type, with intervals; step +1."""
    rows = summary[summary["step"] == STEP]
    states = [state for state in STATES if (rows["state"] == state).any()]
    saes = list(dict.fromkeys(rows["sae"]))
    index = pd.DataFrame([(state, sae) for state in states for sae in saes], columns=["state", "sae"])
    columns = [Column("Hook", [rf"\quad {tex.escape(hook_label(sae))}" for sae in index["sae"]])]
    for name in [*(name for name in TYPES if (rows["type"] == name).any()), UNCLASSIFIED]:
        of = index.merge(rows[rows["type"] == name], on=["state", "sae"], how="left", validate="1:1")
        found = _with_interval(type_label(name), of, "difference", DIFFERENCE)
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


def _figures(head: str, values: pd.Series, digits: int = 2) -> Column:
    return Column(head, [tex.number(value, digits=digits, bare=True) for value in values], "S")


def _with_interval(head: str, rows: pd.DataFrame, name: str, digits: int = 2) -> list[Column]:
    """An estimate and, close beside it, its 95 % interval."""
    ends = zip(rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    intervals = [interval(low, high, digits) for low, high in ends]
    beside = [Column("", intervals, near=True)] if any(intervals) else []
    return [_figures(head, rows[name], digits), *beside]
