"""LaTeX tables of steering, how well weights forecast it, and of next tokens where features fire."""

import pandas as pd

from fsrl.hooks import hook_label
from fsrl.latex import text as tex
from fsrl.latex.table import Column, interval, tabular
from fsrl.tables.steering import FEATURE, RANDOM

DIRECT, TRANSPORTED = "direct", "transported"


def forecasts(table: pd.DataFrame) -> str:
    """Rank correlation of forecast and output score by layer, of features and of random directions.

    table: `steering_forecasts`. With 95 % intervals; columns of transported weights hold dashes where a study
    has none.
    """
    saes = list(dict.fromkeys(table["sae"]))
    parts = {
        (direction, weights): table[(table["direction"] == direction) & (table["weights"] == weights)]
        .set_index("sae")
        .loc[saes]
        for direction in (FEATURE, RANDOM)
        for weights in (DIRECT, TRANSPORTED)
    }
    feature, moved = parts[FEATURE, DIRECT], parts[FEATURE, TRANSPORTED]
    forecast = [
        *_with_interval("direct", feature, "spearman"),
        *_with_interval("$T$", moved, "spearman"),
        *_with_interval("gain", moved, "spearman_gain"),
    ]
    columns = [
        Column("Layer", [tex.escape(hook_label(sae)) for sae in saes]),
        Column("$n$", [tex.count(int(n), bare=True) for n in feature["directions"]], "S"),
        *forecast,
        _figures("direct", parts[RANDOM, DIRECT]["spearman"]),
        _figures("$T$", parts[RANDOM, TRANSPORTED]["spearman"]),
        *_with_interval("direct", feature, "over_random"),
        _figures("$T$", moved["over_random"]),
    ]
    above = len(columns) - len(forecast) - 4
    groups = [("", 2), ("forecast, features", len(forecast)), ("random", 2), ("above random", above)]
    return tabular(columns, groups=groups, size="scriptsize", tabcolsep=2.5)


def next_token(table: pd.DataFrame) -> str:
    """Percentile of the next token less its base rate by layer, under direct and transported weights.

    table: `next_token_summary`. With 95 % intervals; dashes where a study has no transport.
    """
    columns = [
        Column("Layer", [tex.escape(hook_label(sae)) for sae in table["sae"]]),
        Column("$n$", [tex.count(int(n), bare=True) for n in table["features"]], "S"),
        *_with_interval("direct", table, "direct_gain", digits=3),
        *_with_interval("$T$", table, "transported_gain", digits=3),
        *_with_interval("difference", table, "difference", digits=3),
    ]
    return tabular(columns)


def _figures(head: str, values: pd.Series, digits: int = 2) -> Column:
    return Column(head, [tex.number(value, digits=digits, bare=True) for value in values], "S")


def _with_interval(head: str, rows: pd.DataFrame, name: str, digits: int = 2) -> list[Column]:
    """An estimate and, close beside it, its 95 % interval."""
    ends = zip(rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    intervals = [interval(low, high, digits) for low, high in ends]
    beside = [Column("", intervals, near=True)] if any(intervals) else []
    return [_figures(head, rows[name], digits), *beside]
