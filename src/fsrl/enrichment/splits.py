"""The best exemplar of each type, its logit weights split by the token set that it is most surely aligned
with.

What a figure shows of it, as a table (`fsrl.tables.enrichment.SPLITS`): two histograms in the same bins,
means, eta^2, and the set's tokens of most extreme weight.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from fsrl.names import TYPES
from fsrl.tables.enrichment import SPLITS

BINS = 60
SHOWN_TOKENS = 4


def best_exemplars(types: pd.DataFrame, best_sets: pd.DataFrame, *, scheme: str) -> pd.DataFrame:
    """Each type's feature with the smallest q: columns type, feature, set, side, log10_q; ties to the lower
    feature.

    types, best_sets: tables of one layer and view; scheme: the scheme of the labels. Types without a feature
    that has a tested set are left out.
    """
    labels = types.loc[types["scheme"] == scheme, ["feature", "type"]]
    merged = best_sets.merge(labels, on="feature", validate="1:1")
    sides = []
    for side in ("promoted", "suppressed"):
        part = merged[["type", "feature", side, f"{side}_log10_q"]].dropna()
        sides.append(part.set_axis(["type", "feature", "set", "log10_q"], axis=1).assign(side=side))
    ranked = pd.concat(sides).sort_values(["log10_q", "feature"], kind="stable").drop_duplicates("type")
    ranked = ranked[ranked["type"].isin(TYPES)]
    return ranked[["type", "feature", "set", "side", "log10_q"]].reset_index(drop=True)


def split(
    weights: Float[np.ndarray, "n_tokens"],
    inside: Bool[np.ndarray, "n_tokens"],
    tokens: Sequence[str],
    side: str,
) -> dict[str, object]:
    """What the table says of one feature's logit weights, of the tokens inside a set and of all others.

    tokens: as stored, [n_tokens]; side: promoted or suppressed, which of the set's tokens are named.
    """
    weights = np.asarray(weights, dtype=float)
    edges = np.linspace(weights.min(), weights.max(), BINS + 1)
    share = inside.mean()
    distance = (weights[inside].mean() - weights.mean()) / weights.std()
    sign = 1 if side == "promoted" else -1
    order = np.flatnonzero(inside)[np.argsort(-sign * weights[inside], kind="stable")][:SHOWN_TOKENS]
    return {
        "eta2": float(share / (1 - share) * distance**2),
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "inside": np.histogram(weights[inside], edges)[0],
        "outside": np.histogram(weights[~inside], edges)[0],
        "mean_inside": float(weights[inside].mean()),
        "mean_outside": float(weights[~inside].mean()),
        "tokens": [tokens[i] for i in order],
    }


def splits_frame(chosen: pd.DataFrame, found: Sequence[dict[str, object]]) -> pd.DataFrame:
    """The table `splits`: what `best_exemplars` chose, and what `split` says of each."""
    rows = pd.DataFrame(list(found), columns=list(SPLITS.columns)[5:], index=chosen.index)
    numbers = [name for name in rows if SPLITS.columns[name].dtype == "float64"]
    rows = rows.astype(dict.fromkeys(numbers, "float64"))
    frame = pd.concat([chosen, rows], axis=1)
    text = dict.fromkeys(("type", "set", "side"), "str")
    return frame.astype({**text, "feature": "int32", "log10_q": "float64"})
