"""One row a layer: how many features lie in tails that chance does not reach, and which types they get."""

from collections.abc import Mapping

import pandas as pd

from fsrl.quantiles import quantile

TAIL = 0.999


def layer_summary(
    moments: Mapping[str, pd.DataFrame],
    type_counts: Mapping[str, pd.DataFrame],
    null: pd.DataFrame,
    *,
    scheme: str,
) -> pd.DataFrame:
    """Shares beyond the null and type counts of each layer.

    moments, type_counts: SAE id -> its table in one view; null: the view's isotropic null. Columns: sae,
    features; kurtosis_above, skewness_above (share of features above the null's 0.999 quantile),
    kurtosis_below, skewness_below (below its 0.001 quantile; chance gives 0.001 of each); then for each type
    of the scheme the number of features with it as primary label and, as {type}_expected, what chance gives.
    """
    rows = []
    for sae, frame in moments.items():
        row: dict[str, object] = {"sae": sae, "features": len(frame)}
        for column in ("kurtosis", "skewness"):
            row[f"{column}_above"] = (frame[column] > quantile(null, column, TAIL)).mean()
            row[f"{column}_below"] = (frame[column] < quantile(null, column, 1 - TAIL)).mean()
        counts = type_counts[sae]
        for count in counts[counts["scheme"] == scheme].itertuples():
            row[str(count.type)] = count.features
            row[f"{count.type}_expected"] = count.expected
        rows.append(row)
    return pd.DataFrame(rows)
