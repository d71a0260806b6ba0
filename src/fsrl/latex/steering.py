"""LaTeX tables of steering, how well weights forecast it, of next tokens where features fire, and of how an
effect reaches the logits.
"""

from collections.abc import Mapping

import pandas as pd

from fsrl.hooks import hook_label
from fsrl.latex import text as tex
from fsrl.latex.table import Column, interval, tabular
from fsrl.tables.steering import FEATURE, RANDOM

DIRECT, TRANSPORTED = "direct", "transported"
# The terms of `fsrl.steering.paths`, and how many null directions go beyond the bounds of `confidence`.
TERMS = ("direct", "blocks", "scale")
CHANCE = 0.01


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
        Column("Hook", [tex.escape(hook_label(sae)) for sae in saes]),
        Column("$n$", [tex.count(int(n), bare=True) for n in feature["directions"]], "S"),
        *forecast,
        _figures("direct", parts[RANDOM, DIRECT]["spearman"]),
        _figures("$T$", parts[RANDOM, TRANSPORTED]["spearman"]),
        *(beyond := _with_interval("direct", feature, "spearman_over_random")),
        *(above := _with_interval("direct", feature, "over_random")),
        _figures("$T$", moved["over_random"]),
    ]
    groups = [("", 2), ("forecast, features", len(forecast)), ("random", 2), ("difference", len(beyond))]
    groups += [("above random", len(above) + 1)]
    return tabular(columns, groups=groups, size="scriptsize", tabcolsep=2)


def next_token(table: pd.DataFrame) -> str:
    """Percentile of the next token less its base rate by layer, under direct and transported weights.

    table: `next_token_summary`. With 95 % intervals; dashes where a study has no transport.
    """
    columns = [
        Column("Hook", [tex.escape(hook_label(sae)) for sae in table["sae"]]),
        Column("$n$", [tex.count(int(n), bare=True) for n in table["features"]], "S"),
        *_with_interval("direct", table, "direct_gain", digits=3),
        *_with_interval("$T$", table, "transported_gain", digits=3),
        *_with_interval("difference", table, "difference", digits=3),
    ]
    return tabular(columns)


def paths(layers: Mapping[str, pd.DataFrame]) -> str:
    """Shares of the three terms of a change by layer, and what it does to the entropy: medians over features,
    and over random directions of the same norms at the same positions.

    layers: SAE id -> its table `paths`. Dashes for a layer of which no feature fires.
    """
    figures = [*(f"{term}_share" for term in TERMS), "entropy_change", "fixed_scale_entropy_change"]
    heads = [*TERMS, "entropy", "scale held"]
    medians = {
        direction: pd.DataFrame(
            {
                sae: frame.loc[frame["direction"] == direction, figures].median()
                for sae, frame in layers.items()
            }
        ).T
        for direction in (FEATURE, RANDOM)
    }
    fires = [int((frame["sites"] > 0)[frame["direction"] == FEATURE].sum()) for frame in layers.values()]
    columns = [
        Column("Hook", [tex.escape(hook_label(sae)) for sae in layers]),
        Column("$n$", [tex.count(n, bare=True) for n in fires], "S"),
        *(
            _figures(head, found[name], digits=2 if name in figures[:3] else 3)
            for found in medians.values()
            for head, name in zip(heads, figures, strict=True)
        ),
    ]
    return tabular(columns, groups=[("", 2), ("features", 5), ("random directions", 5)], tabcolsep=2.5)


def confidence(layers: Mapping[str, pd.DataFrame]) -> str:
    """Features beyond what 1 % of null directions reach, in per cent, by layer: of the slope on the log of
    the token's count (half of it on either side), and of the share in W_U's null space (above), direct and
    transported, among isotropic directions and among those of the layer's spectrum; in the last row what
    chance gives.

    layers: SAE id -> its table `confidence`. Dashes where counts are unknown, or the study has no transport.
    """
    columns = [Column("Hook", [*(tex.escape(hook_label(sae)) for sae in layers), "chance"])]
    for prefix in ("", "transported_"):
        for null in ("", "spectrum_"):
            slopes, shares = (
                [frame[f"{prefix}{name}_{null}percentile"].dropna() for frame in layers.values()]
                for name in ("frequency", "null_space")
            )
            columns += [
                _percents("rare", [*((values < CHANCE / 2).mean() for values in slopes), CHANCE / 2]),
                _percents("freq.", [*((values > 1 - CHANCE / 2).mean() for values in slopes), CHANCE / 2]),
                _percents("null", [*((values > 1 - CHANCE).mean() for values in shares), CHANCE]),
            ]
    groups = [("", 1), ("isotropic", 3), ("spectrum", 3), ("$T$, isotropic", 3), ("$T$, spectrum", 3)]
    return tabular(columns, groups=groups, rules=[len(layers)], tabcolsep=2.5)


def _percents(head: str, shares: list[float]) -> Column:
    return Column(head, [tex.percent(share, bare=True) for share in shares], "S")


def _figures(head: str, values: pd.Series, digits: int = 2) -> Column:
    return Column(head, [tex.number(value, digits=digits, bare=True) for value in values], "S")


def _with_interval(head: str, rows: pd.DataFrame, name: str, digits: int = 2) -> list[Column]:
    """An estimate and, close beside it, its 95 % interval."""
    ends = zip(rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    intervals = [interval(low, high, digits) for low, high in ends]
    beside = [Column("", intervals, near=True)] if any(intervals) else []
    return [_figures(head, rows[name], digits), *beside]
