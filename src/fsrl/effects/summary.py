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
from jaxtyping import Float64

from fsrl.names import LABELS
from fsrl.tables.effects import PLAIN, RETENTION, SUMMARY

DRAWS = 2000
ALL = "all"
INTERVALS = ("pearson", "difference", "kept")
STEPS = ("+1", "+own")
TEXT = dict.fromkeys(("sae", "type", "state", "step"), "str")


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


def _resampled(part: pd.DataFrame, draws: int, seed: int) -> Float64[np.ndarray, "draws intervals"]:
    """Means of INTERVALS over features drawn with replacement."""
    rng = np.random.default_rng(seed)
    values = part[list(INTERVALS)].to_numpy(dtype=np.float64)
    # Counts of each feature in each draw: one product instead of `draws` tables.
    counts = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), size=draws)
    return counts @ values / len(part)
