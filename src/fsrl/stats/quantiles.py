"""Quantiles of a table's column and their Monte Carlo error. Nothing heavier than pandas is imported."""

import numpy as np
import pandas as pd
from jaxtyping import Float64

from fsrl.errors import FsrlError


def quantile(frame: pd.DataFrame, column: str, q: float) -> float:
    """The q-quantile (0 to 1, linear interpolation) of the values of `column` that are not null.

    Raises FsrlError for an unknown column, q out of range, or no value.
    """
    return float(np.quantile(_values(frame, column, q), q))


def quantile_error(frame: pd.DataFrame, column: str, q: float) -> float:
    """Monte Carlo standard deviation of `quantile`, from the order statistics around it.

    The number of n independent draws below the true quantile is binomial, with sd s = sqrt(n q (1 - q)); so
    the quantile moves by half the distance between the order statistics s places below and above it.
    Raises FsrlError where there are too few draws to have an order statistic s places beyond.
    """
    values = _values(frame, column, q)
    step = np.sqrt(q * (1 - q) / len(values))
    if q - step < 0 or q + step > 1:
        needed = int(np.ceil(max(q / (1 - q), (1 - q) / q))) if 0 < q < 1 else "no number of"
        raise FsrlError(
            f"quantile {q} of {column}: {len(values)} draws are too few for its error; it takes {needed}"
        )
    low, high = np.quantile(values, [q - step, q + step])
    return float(high - low) / 2


def _values(frame: pd.DataFrame, column: str, q: float) -> Float64[np.ndarray, "rows"]:
    if column not in frame:
        raise FsrlError(
            f"quantile of {column}: no such column; there are {', '.join(map(str, frame.columns))}"
        )
    if not 0 <= q <= 1:
        raise FsrlError(f"quantile {q} of {column}: must lie between 0 and 1")
    values = frame[column].dropna().to_numpy(dtype=np.float64)
    if not len(values):
        raise FsrlError(f"quantile {q} of {column}: the column holds no value")
    return values
