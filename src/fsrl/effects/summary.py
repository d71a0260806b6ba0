"""Measured effects by layer and type: agreement, the difference to controls, what becomes of each type.

Means over features with 95 % bootstrap intervals over features (seeded, percentiles). The headline is the
difference between a feature and the random direction of the same norm at the same positions: random
directions agree with their weights as well, so agreement alone says nothing about features. `all` weighs the
types by their numbers in the layer, since the sample has as many of a rare type as of a common one; a type
of one feature has no interval, and adds nothing to that of `all`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fsrl.tables.core import Column, Table
from fsrl.types.classify import LABELS

DRAWS = 2000
ALL = "all"
# Columns of table `effects` of which the feature's mean is given as it is.
PLAIN = ("spearman", "slope", "explained", "overlap", "odd_share", "averaged_pearson", "averaged_slope")
INTERVALS = ("pearson", "difference", "kept")
STEPS = ("+1", "+own")
TEXT = dict.fromkeys(("sae", "type", "state", "step"), "str")

_MEAN = "mean over the sample's features"
SUMMARY = Table(
    "effect_summary",
    {
        "sae": Column("string", "1", "SAE, in the order of the study"),
        "type": Column("string", "1", "type by the logit weights; all: types weighted by their numbers"),
        "state": Column("string", "1", "whether the feature is active at the positions"),
        "step": Column("string", "1", "+1, or the feature's own mean activation"),
        "features": Column("int64", "features", "features measured"),
        "stratum": Column("int64", "features", "features of this type in the layer"),
        **{
            f"{name}{end}": Column("float64", "1", f"{text}{note}", nullable=True)
            for name, text in (
                ("pearson", f"correlation of measured change and weights, {_MEAN}"),
                ("difference", f"pearson less that of a random direction at the same positions, {_MEAN}"),
                ("kept", f"share of positions where the measured change has the feature's type, {_MEAN}"),
            )
            for end, note in (
                ("", ""),
                ("_low", ": 2.5 % of bootstrap over features"),
                ("_high", ": 97.5 %"),
            )
        },
        "random": Column("float64", "1", "pearson of the random directions", nullable=True),
        "other": Column("float64", "1", "pearson with another feature's weights", nullable=True),
        **{name: Column("float64", "1", f"{name}, {_MEAN}", nullable=True) for name in PLAIN},
    },
)
RETENTION = Table(
    "effect_retention",
    {
        "sae": Column("string", "1", "SAE, in the order of the study"),
        "state": Column("string", "1", "whether the feature is active at the positions"),
        "direct_type": Column("string", "1", "type by the logit weights"),
        "measured_type": Column("string", "1", "type by the measured change, step +1"),
        "features": Column("int64", "features", "features of the direct type measured"),
        "share": Column("float64", "1", "share of their positions, mean over features"),
    },
)


def summarise(effects: Mapping[str, pd.DataFrame], *, seed: int, draws: int = DRAWS) -> pd.DataFrame:
    """The table `effect_summary`; effects: SAE id -> its table `effects`."""
    rows = []
    for sae, frame in effects.items():
        for (state, step), part in _paired(frame).groupby(["state", "step"], sort=True):
            types = {label: part[part["type"] == label] for label in LABELS}
            types = {label: found for label, found in types.items() if len(found)}
            sampled = {label: _resampled(found, draws, seed) for label, found in types.items()}
            stratum = {label: int(found["stratum"].iloc[0]) for label, found in types.items()}
            weight = {label: number / sum(stratum.values()) for label, number in stratum.items()}
            for label in (*types, ALL):
                of = {label: 1.0} if label != ALL else weight
                row = {"sae": sae, "type": label, "state": state, "step": step}
                row["features"] = sum(len(types[name]) for name in of)
                row["stratum"] = sum(stratum[name] for name in of)
                for name in (*INTERVALS, "random", "other", *PLAIN):
                    row[name] = sum(w * types[kind][name].mean() for kind, w in of.items())
                for k, name in enumerate(INTERVALS):
                    spread = sum(w * sampled[kind][:, k] for kind, w in of.items())
                    # One feature says nothing about how features vary.
                    ends = np.nanquantile(spread, [0.025, 0.975]) if row["features"] > 1 else (np.nan, np.nan)
                    row[f"{name}_low"], row[f"{name}_high"] = ends
                rows.append(row)
    return pd.DataFrame(rows)[list(SUMMARY.columns)].astype(TEXT)


def retention(effects: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The table `effect_retention`: for every type what the measured changes of its features look like."""
    rows = []
    for sae, frame in effects.items():
        features = frame[(frame["direction"] == "feature") & (frame["step"] == "+1")]
        for (state, label), part in features.groupby(["state", "type"], sort=True):
            for measured in LABELS:
                share = part[f"share_{measured}"].mean()
                rows.append((sae, state, label, measured, len(part), share))
    return pd.DataFrame(rows, columns=list(RETENTION.columns)).astype(
        dict.fromkeys(("sae", "state", "direct_type", "measured_type"), "str")
    )


def _paired(frame: pd.DataFrame) -> pd.DataFrame:
    """The features' rows with the random and other readings of the same feature, state and step."""
    keys = ["feature", "state", "step"]
    features = frame[(frame["direction"] == "feature") & frame["step"].isin(STEPS)]
    for name in ("random", "other"):
        control = frame.loc[frame["direction"] == name, [*keys, "pearson"]].rename(columns={"pearson": name})
        features = features.merge(control, on=keys, how="left", validate="1:1")
    return features.assign(difference=features["pearson"] - features["random"])


def _resampled(part: pd.DataFrame, draws: int, seed: int) -> np.ndarray:
    """Means of INTERVALS over features drawn with replacement [draws, len(INTERVALS)]."""
    rng = np.random.default_rng(seed)
    values = part[list(INTERVALS)].to_numpy(dtype=np.float64)
    # Counts of each feature in each draw: one product instead of `draws` tables.
    counts = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), size=draws)
    return counts @ values / len(part)
