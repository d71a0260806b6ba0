"""What the claims look at in one layer, gathered from its tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fsrl.claims.claims_list import Layer
from fsrl.claims.dips import MATCHED
from fsrl.enrichment import discoveries


def layer(
    sae: str,
    moments: pd.DataFrame,
    types: pd.DataFrame,
    best_sets: pd.DataFrame,
    dips: pd.DataFrame,
    *,
    enrichment: tuple[Sequence[str], np.ndarray, np.ndarray, np.ndarray],
    cut: float,
) -> Layer:
    """moments, types, best_sets, dips: tables of one layer; enrichment: sets, then t, log10 p and eta^2
    (float32 [features, sets]); cut: the largest log10 p that is significant (NaN: none is).
    """
    sets, t, log10_p, eta2 = enrichment
    promoted, suppressed = discoveries.significant(t, log10_p, cut)
    rows = dips["feature"].to_numpy()
    dip = np.full(len(moments), np.nan)
    dip[rows] = dips["null_quantile"].to_numpy()
    matched = np.zeros(len(moments), dtype=bool)
    matched[rows[(dips["sample"] == MATCHED).to_numpy()]] = True
    clusters = best_sets["cluster"].to_numpy()
    return Layer(sae, moments, types, clusters, sets, promoted, suppressed, t, eta2, dip, matched)
