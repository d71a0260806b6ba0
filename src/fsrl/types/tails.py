"""How far each tail of a feature's logit weights lies beyond what chance gives: p, q, evidence, bounds.

Eight tails (`fsrl.names.TAILS`): skewness to the right and to the left, the fourth moment of either side
(right_kurtosis, left_kurtosis), kurtosis, heavy or flat, and the eighth moment of either side (right_eighth,
left_eighth), which sees a few tokens among 50,000 that the fourth does not. For each and each bounding null
(`fsrl.names.BOUNDING`)

    p         share of null directions as extreme (`fsrl.nulls.quantiles`), the largest over the nulls
    q         Benjamini and Hochberg's, over the features of the layer, tail by tail
    evidence  (x - null median) / (0.999 quantile of the null - null median), the smallest over the nulls:
              a scale on which tails and layers compare, with 1 at the 0.999 quantile; of eighth moments the
              square roots are taken first, whose scale is that of fourth moments
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from fsrl.errors import FsrlError
from fsrl.names import BOUNDING, SHARED, SPIKES
from fsrl.nulls.quantiles import Bounds, NullTail
from fsrl.stats import rates
from fsrl.stats.rates import benjamini_hochberg
from fsrl.tables.types import TAIL_CALIBRATION, TAIL_TABLE

# Tail -> the column that it is read from, and the sign with which large is extreme.
COLUMNS = {
    "right": ("skewness", 1),
    "left": ("skewness", -1),
    "right_kurtosis": ("right_kurtosis", 1),
    "left_kurtosis": ("left_kurtosis", 1),
    "heavy": ("kurtosis", 1),
    "flat": ("kurtosis", -1),
    "right_eighth": ("right_eighth", 1),
    "left_eighth": ("left_eighth", 1),
}
# Tails whose null is that of their mirror image, since a null direction is as likely as its negative.
MIRRORED = {"left": "right", "left_kurtosis": "right_kurtosis", "left_eighth": "right_eighth"}
# Tail -> value of each row, or what follows from it.
PerTail = Mapping[str, Float64[np.ndarray, "rows"]]


def values(frame: pd.DataFrame) -> dict[str, Float64[np.ndarray, "rows"]]:
    """What each tail reads of a table `moments` or `null`: large is extreme."""
    return {tail: sign * frame[column].to_numpy(dtype=np.float64) for tail, (column, sign) in COLUMNS.items()}


def bounding(known: Bounds) -> dict[str, Mapping[str, NullTail]]:
    """Those of the kinds that bound the types; FsrlError without the isotropic one."""
    if SHARED not in known:
        raise FsrlError(f"tails: no null of kind {SHARED}; there are {', '.join(known) or 'none'}")
    return {kind: known[kind] for kind in BOUNDING if kind in known}


def of_kind(tails: Mapping[str, NullTail], tail: str) -> NullTail:
    """The null of one tail."""
    return tails[MIRRORED.get(tail, tail)]


def log10_p(frame: pd.DataFrame, known: Bounds) -> dict[str, Float64[np.ndarray, "rows"]]:
    """Tail -> log10 of the largest p over the bounding nulls; NaN for a row without a shape."""
    kinds = bounding(known)
    return {
        tail: np.max([of_kind(tails, tail).log10_p(x) for tails in kinds.values()], axis=0)
        for tail, x in values(frame).items()
    }


def evidence(frame: pd.DataFrame, known: Bounds) -> dict[str, Float64[np.ndarray, "rows"]]:
    """Tail -> evidence, the smallest over the bounding nulls; NaN for a row without a shape."""
    kinds = bounding(known)
    return {
        tail: np.min(
            [of_kind(tails, tail).evidence(x, root=tail in SPIKES) for tails in kinds.values()], axis=0
        )
        for tail, x in values(frame).items()
    }


def tails_frame(moments: pd.DataFrame, known: Bounds) -> pd.DataFrame:
    """The table `tails` of one layer in one view.

    moments: table `moments` of the layer, whole: q is over all its features; known: of its nulls. Raises
    FsrlError where the isotropic null is missing.
    """
    kinds, found = bounding(known), evidence(moments, known)
    columns: dict[str, object] = {"feature": moments["feature"].to_numpy()}
    for tail, x in values(moments).items():
        of_kinds = {kind: of_kind(tails, tail).log10_p(x) for kind, tails in kinds.items()}
        largest = np.max(list(of_kinds.values()), axis=0)
        columns[f"p_{tail}"] = 10.0**largest
        columns[f"q_{tail}"] = 10.0 ** benjamini_hochberg(largest)
        columns[f"evidence_{tail}"] = found[tail]
        for kind in BOUNDING:
            own = of_kinds.get(kind)
            columns[f"p_{tail}_{kind}"] = np.full(len(x), np.nan) if own is None else 10.0**own
    return pd.DataFrame(columns)[list(TAIL_TABLE.columns)]


# Where calibration is counted: what Benjamini and Hochberg's rate asks of one feature of 1,500 is the last.
LEVELS = (0.1, 0.01, 0.001, 0.0001)


def calibration(fresh: pd.DataFrame, known: Bounds) -> pd.DataFrame:
    """The table `tail_calibration`: how often fresh directions of each kind in `known` have a small p.

    fresh: table `null` of directions that set no bound; of a kind that is not in it there is no row.
    """
    rows = []
    for kind, null in known.items():
        part = fresh[fresh["kind"] == kind]
        for tail, x in values(part).items() if len(part) else ():
            p = 10.0 ** of_kind(null, tail).log10_p(x)
            for level in LEVELS:
                beyond, draws = int((p <= level).sum()), len(part)
                interval = rates.clopper_pearson(beyond, draws)
                rows.append((kind, tail, level, draws, beyond, beyond / draws, *interval))
    frame = pd.DataFrame(rows, columns=list(TAIL_CALIBRATION.columns))
    return frame.astype({"kind": "str", "tail": "str"})


def significant(p: PerTail, levels: Mapping[str, float]) -> dict[str, Bool[np.ndarray, "rows"]]:
    """Tail -> which rows of a layer have q at most its level, for the tails that have one; p: log10."""
    return {tail: rates.significant(p[tail], level) for tail, level in levels.items()}


def critical(p: PerTail, levels: Mapping[str, float]) -> dict[str, float]:
    """Tail -> the largest log10 p that is significant; where none is, what one row alone has to reach."""
    found = {}
    for tail, called in significant(p, levels).items():
        alone = np.log10(levels[tail] / max(int((~np.isnan(p[tail])).sum()), 1))
        found[tail] = float(p[tail][called].max()) if called.any() else float(alone)
    return found


def critical_value(known: Bounds, tail: str, log10_p: float) -> tuple[float, str]:
    """The value of the tail's column that reaches this p against every bounding null, and the null that asks
    for the most; NaN where no value does.
    """
    reached = {kind: of_kind(tails, tail).value_at(log10_p) for kind, tails in bounding(known).items()}
    kind = max(reached, key=lambda name: np.inf if np.isnan(reached[name]) else reached[name])
    return COLUMNS[tail][1] * reached[kind], kind
