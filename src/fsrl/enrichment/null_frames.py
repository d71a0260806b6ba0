"""From the tests of `fsrl.enrichment.calibration`, where there is nothing to find, to their tables."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import scipy.stats
from jaxtyping import Int

from fsrl.enrichment import calibration
from fsrl.errors import FsrlError
from fsrl.tables.enrichment import NULL_LEVEL

# In so many of a hundred cells a test that keeps its level makes no more discoveries than are allowed.
CHANCE = 0.99


def null_p_values_frame(
    tests: calibration.NullTests, features: Int[np.ndarray, "features"], sets: Sequence[str], sae: str
) -> pd.DataFrame:
    """The table `null_p_values` of one layer and kind of nothing, from tests of sets of these names and rows.

    tests: with the textbook's z, else FsrlError.
    """
    student = calibration.student_log10_p(tests.t, tests.k)
    if tests.z is None:
        raise FsrlError(f"null p-values: tests of kind {tests.kind} have no z; give the first repetition")
    return pd.DataFrame(
        {
            "sae": sae,
            "kind": tests.kind,
            "feature": np.repeat(features.astype(np.int32), len(sets)),
            "set": np.tile(np.asarray(sets, dtype=object), len(features)),
            "log10_p": tests.log10_p.astype(np.float64).ravel(),
            "log10_p_t": student.ravel(),
            "log10_p_z": calibration.textbook_log10_p(tests.z).ravel(),
        }
    ).astype({"sae": "str", "kind": "str", "set": "str"})


def null_discoveries_frame(
    tests: Iterable[calibration.NullTests], sae: str, *, level: float, cut: float
) -> pd.DataFrame:
    """The table `null_discoveries` of one layer; cut: the study's largest significant log10 p (NaN: none)."""
    rows = [
        {
            "sae": sae,
            "kind": one.kind,
            "tokens": pd.NA if one.tokens is None else one.tokens,
            "repetition": one.repetition,
            "tests": int(np.isfinite(one.log10_p).sum()),
            "own": one.discoveries(level),
            "student": one.student_discoveries(level),
            "beyond_cut": int((one.log10_p <= cut).sum()),
            "level": level,
        }
        for one in tests
    ]
    types = {"sae": "str", "kind": "str", "tokens": "Int64", "repetition": "int32"}
    return pd.DataFrame(rows).astype(types)


def null_level_frame(discoveries: pd.DataFrame) -> pd.DataFrame:
    """The table `null_level`: of each layer, and of all together (sae: null), by kind and tokens.

    discoveries: the table `null_discoveries` of a study and view. Where nothing is to be found the false
    discovery rate is the share of repetitions with any discovery.

    Example: of 20 repetitions 4 may have one at a level of .05 (P of 4 or fewer is .997, of 3 or fewer .984).
    """
    cells = [
        found.groupby(["sae", "kind", "tokens", "level"], dropna=False, sort=False).agg(
            repetitions=("own", "size"),
            wrong=("own", lambda own: int((own > 0).sum())),
            wrong_student=("student", lambda student: int((student > 0).sum())),
        )
        for found in (discoveries, discoveries.assign(sae=None))
    ]
    frame = pd.concat([cell.reset_index() for cell in cells], ignore_index=True)
    frame["most"] = scipy.stats.binom.ppf(CHANCE, frame["repetitions"], frame["level"])
    frame["kept"] = frame["wrong"] <= frame["most"]
    counts = dict.fromkeys(("repetitions", "wrong", "wrong_student", "most"), "int64")
    return frame[list(NULL_LEVEL.columns)].astype({"sae": "str", "kind": "str", "tokens": "Int64", **counts})
