"""Measured effects by layer and type, and agreement by layer and prediction, with intervals over features.

Means over features with 95 % bootstrap intervals over features (seeded, percentiles). The headline is what
is paired: a feature less a random direction with its norm and its cosine with the stream at the same
positions (random directions agree with their weights as well, so agreement alone says nothing about
features), and each prediction less the direct weights. `all`, and the table by hook, weigh the types by their
numbers in the layer, since the sample has as many of a rare type as of a common one; a type of one feature
has no interval, and adds nothing to that of `all`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from fsrl.effects.names import DIRECT, FEATURE, MATCHED, OTHER, RANDOM
from fsrl.names import LABELS, TYPES
from fsrl.tables.effects import BY_HOOK, PAIRED, PLAIN, RETENTION, SUMMARY

DRAWS = 2000
ALL = "all"
INTERVALS = ("pearson", "difference", "kept")
CONTROLS = (MATCHED, RANDOM, OTHER)
KEYS = ["feature", "state", "step"]
TEXT = dict.fromkeys(("sae", "type", "direction", "prediction", "state", "step"), "str")


def summarise(
    effects: Mapping[str, pd.DataFrame],
    agreement: Mapping[str, pd.DataFrame],
    *,
    seed: int,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """The table `effect_summary`, of direct weights; effects, agreement: SAE id -> its tables of these names
    (`effect_agreement` of the latter).
    """
    rows = []
    for sae, frame in agreement.items():
        paired = _with_controls(frame, effects[sae])
        for (state, step), part in paired.groupby(["state", "step"], sort=True):
            types = [label for label in LABELS if (part["type"] == label).any()]
            for label in (*types, ALL):
                mine = part if label == ALL else part[part["type"] == label]
                row = {"sae": sae, "type": label, "state": state, "step": step}
                stratum = sum(int(one["stratum"].iloc[0]) for one in _strata(mine))
                row |= {"features": len(mine), "stratum": stratum}
                row |= _means(mine, (*CONTROLS, *PLAIN)) | _intervals(mine, INTERVALS, draws, seed)
                rows.append(row)
    return _table(rows, SUMMARY)


def by_hook(agreement: Mapping[str, pd.DataFrame], *, seed: int, draws: int = DRAWS) -> pd.DataFrame:
    """The table `effects_by_hook`; agreement: SAE id -> its table `effect_agreement`."""
    rows = []
    for sae, frame in agreement.items():
        groups = _paired(frame).groupby(["direction", "prediction", "state", "step"], sort=False)
        for (direction, prediction, state, step), part in groups:
            row = {"sae": sae, "direction": direction, "prediction": prediction, "state": state, "step": step}
            row |= {"features": len(part)} | _means(part, ("explained", "averaged_pearson"))
            rows.append(row | _intervals(part, tuple(PAIRED), draws, seed))
    return _table(rows, BY_HOOK)


def retention(effects: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The table `effect_retention`: for every type what the measured changes of its features look like."""
    rows = []
    for sae, frame in effects.items():
        features = frame[(frame["direction"] == FEATURE) & (frame["step"] == "+1")]
        features = features[features["type"].isin(TYPES)]
        for (state, label), part in features.groupby(["state", "type"], sort=True):
            for measured in LABELS:
                share = part[f"share_{measured}"].mean()
                rows.append((sae, state, label, measured, len(part), share))
    return pd.DataFrame(rows, columns=list(RETENTION.columns)).astype(
        dict.fromkeys(("sae", "state", "direct_type", "measured_type"), "str")
        | {"features": "int64", "share": "float64"}
    )


def _with_controls(agreement: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """The features' rows of direct weights with what their change is, and the controls' pearson."""
    direct = agreement[agreement["prediction"] == DIRECT]
    features = direct[direct["direction"] == FEATURE]
    own = effects.loc[effects["direction"] == FEATURE, [*KEYS, "kept", "odd_share"]]
    features = features.merge(own, on=KEYS, how="left", validate="1:1")
    for name in CONTROLS:
        control = direct.loc[direct["direction"] == name, [*KEYS, "pearson"]].rename(
            columns={"pearson": name}
        )
        features = features.merge(control, on=KEYS, how="left", validate="1:1")
    return features.assign(difference=features["pearson"] - features[MATCHED])


def _paired(agreement: pd.DataFrame) -> pd.DataFrame:
    """Each row with the pearson of direct weights and of the matched control taken off."""
    of_direct = agreement.loc[agreement["prediction"] == DIRECT, [*KEYS, "direction", "pearson"]]
    of_matched = agreement.loc[agreement["direction"] == MATCHED, [*KEYS, "prediction", "pearson"]]
    found = agreement.merge(
        of_direct, on=[*KEYS, "direction"], how="left", validate="m:1", suffixes=("", "_direct")
    ).merge(of_matched, on=[*KEYS, "prediction"], how="left", validate="m:1", suffixes=("", "_matched"))
    over = (found["pearson"] - found["pearson_matched"]).where(found["direction"] == FEATURE)
    return found.assign(over_direct=found["pearson"] - found["pearson_direct"], over_matched=over)


def _strata(part: pd.DataFrame) -> list[pd.DataFrame]:
    """The features of each type, in the order of the types."""
    return [part[part["type"] == label] for label in LABELS if (part["type"] == label).any()]


def _shares(strata: Sequence[pd.DataFrame], name: str) -> list[float]:
    """What each type weighs in the mean of a column: its number in the layer, if it has a value at all."""
    sizes = [mine["stratum"].iloc[0] * mine[name].notna().any() for mine in strata]
    return [float(size / sum(sizes)) if size else 0.0 for size in sizes]


def _means(part: pd.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Means over features, types weighted by their numbers; NaN where there is no value."""
    strata, found = _strata(part), {}
    for name in names:
        weighed = zip(_shares(strata, name), strata, strict=True)
        known = [share * mine[name].mean() for share, mine in weighed if share]
        found[name] = float(sum(known)) if known else np.nan
    return found


def _intervals(part: pd.DataFrame, names: Sequence[str], draws: int, seed: int) -> dict[str, float]:
    """Means of columns, with the ends of their bootstrap intervals."""
    strata, found = _strata(part), _means(part, names)
    drawn = [_resampled(mine[list(names)].to_numpy(float), draws, seed) for mine in strata]
    for k, name in enumerate(names):
        weighed = zip(_shares(strata, name), drawn, strict=True)
        known = [share * means[:, k] for share, means in weighed if share]
        # One feature says nothing about how features vary.
        several = part[name].notna().sum() > 1
        low, high = np.nanquantile(sum(known), [0.025, 0.975]) if several else (np.nan, np.nan)
        found |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def _resampled(
    values: Float64[np.ndarray, "features columns"], draws: int, seed: int
) -> Float64[np.ndarray, "draws columns"]:
    """Means of columns over features drawn with replacement, of those that have a value."""
    rng = np.random.default_rng(seed)
    # Counts of each feature in each draw: one product instead of `draws` tables.
    counts = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=draws)
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return (counts @ np.where(known, values, 0)) / (counts @ known)


def _table(rows: list[dict[str, Any]], table: Any) -> pd.DataFrame:
    dtypes = {name: kind for name, kind in TEXT.items() if name in table.columns}
    return pd.DataFrame(rows)[list(table.columns)].astype(dtypes)
