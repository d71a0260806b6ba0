"""Next tokens by layer: how much higher the weights put what follows where their features fire.

Means over the features that fire, types weighted by their numbers in the layer, with 95 % intervals of a
bootstrap over features (`fsrl.stats.strata`).
"""

from collections.abc import Mapping

import pandas as pd

from fsrl.stats.strata import weighted_mean
from fsrl.tables.steering import NEXT_TOKEN_SUMMARY

DRAWS = 2000
FIGURES = ("direct_gain", "transported_gain", "difference")


def summarise(layers: Mapping[str, pd.DataFrame], *, seed: int, draws: int = DRAWS) -> pd.DataFrame:
    """The table `next_token_summary`; layers: SAE id -> its table `next_token`."""
    rows = []
    for sae, frame in layers.items():
        fires = frame[frame["sites"] > 0]
        found = weighted_mean(
            fires[list(FIGURES)].to_numpy(dtype="float64"),
            fires["type"].to_numpy(dtype=object).astype(str),
            fires["stratum"].to_numpy(),
            draws=draws,
            seed=seed,
        )
        row: dict[str, object] = {"sae": sae, "features": len(fires), "sites": int(fires["sites"].sum())}
        for name, (mean, low, high) in zip(FIGURES, found.T, strict=True):
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)[list(NEXT_TOKEN_SUMMARY.columns)].astype({"sae": "str"})
