"""What isotropic directions typically have, from a table of them or from their quantiles."""

import numpy as np
import pandas as pd

from fsrl.errors import FsrlError
from fsrl.moments.formulas import Typical
from fsrl.names import SHARED
from fsrl.nulls.quantiles import Bounds
from fsrl.stats.quantiles import quantile


def typical(null: pd.DataFrame) -> Typical:
    """The medians of the isotropic draws of a table `null`, which may hold other kinds beside them.

    FsrlError where it holds no isotropic draw with a shape.
    """
    isotropic = null[null["kind"] == SHARED]
    left = isotropic["kurtosis"] - isotropic["right_kurtosis"]
    sides = pd.DataFrame(
        {
            "right_kurtosis": np.concatenate([isotropic["right_kurtosis"], left]),
            "right_eighth": np.concatenate([isotropic["right_eighth"], isotropic["left_eighth"]]),
        }
    )
    return Typical(
        kurtosis=quantile(isotropic, "kurtosis", 0.5),
        right_kurtosis=quantile(sides, "right_kurtosis", 0.5),
        right_eighth=quantile(sides, "right_eighth", 0.5),
    )


def of_quantiles(known: Bounds) -> Typical:
    """`typical` of the draws that the quantiles (`fsrl.nulls.quantiles.bounds`) were taken from.

    FsrlError without the isotropic kind.
    """
    if SHARED not in known:
        raise FsrlError(f"null quantiles: no kind {SHARED}; there are {', '.join(known) or 'none'}")
    tails = known[SHARED]
    return Typical(
        kurtosis=tails["heavy"].median,
        right_kurtosis=tails["right_kurtosis"].median,
        right_eighth=tails["right_eighth"].median,
    )
