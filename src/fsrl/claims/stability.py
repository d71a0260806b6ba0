"""Are types stable from layer to layer, or width to width?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy
from jaxtyping import Int64

from fsrl.names import TYPES
from fsrl.tables.sensitivity import STABILITY

TAIL = 0.999


def stability(counts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The table `stability` from the tables `type_counts` of a study's SAEs in one view."""
    every = pd.concat(counts, ignore_index=True)
    totals = _totals(counts)
    rows = []
    for (scheme, name), part in every[every["type"].isin(TYPES)].groupby(["scheme", "type"], sort=False):
        share = part["members"].to_numpy() / totals
        # By the layer's own bounds: null directions that are judged as a layer of their own get no type.
        by_chance = part["expected_at_bounds"].to_numpy() / totals
        # That no null direction got a label does not make its rate nought: one feature alone is no excess.
        limit = np.maximum(scipy.stats.binom.ppf(TAIL, totals, by_chance), 1)
        above = int((part["features"].to_numpy() > limit).sum())
        spread = float(share.std(ddof=1)) if len(share) > 1 else np.nan
        rows.append((scheme, name, len(share), share.mean(), spread, share.min(), share.max(), above))
    return pd.DataFrame(rows, columns=list(STABILITY.columns)).astype({"scheme": "str", "type": "str"})


def _totals(counts: Sequence[pd.DataFrame]) -> Int64[np.ndarray, "saes"]:
    """Features of each SAE: primary labels of one scheme add up to all of them."""
    return np.array([int(table.groupby("scheme")["features"].sum().iloc[0]) for table in counts])
