"""What isotropic directions typically have, from a table of them. Imports nothing heavy."""

import numpy as np
import pandas as pd

from fsrl.moments.formulas import Typical
from fsrl.names import SHARED
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
