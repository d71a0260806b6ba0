"""Which types the features have that significantly promote or suppress a token set, and what types miss."""

import numpy as np
import pandas as pd

from fsrl.enrichment.study import LayerTests
from fsrl.names import DEGENERATE, LABELS, UNCLASSIFIED
from fsrl.tables.enrichment import SET_COVERAGE

UNTYPED = (UNCLASSIFIED, DEGENERATE)
# No set has this name: sets are named by lower-case words.
ANY = "(any set)"


def set_coverage(tests: LayerTests, cut: float, types: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """The table `set_coverage` of one layer: for each set, and for any of them (null), one row a label.

    cut: the study's largest significant log10 p (NaN: none); types: table `types` of the layer.

    Example: of two features that promote a set, one a prediction and one unclassified, the set has rows of
    1 feature and share 1/2 for these labels, and of none for the others.
    """
    up, down = tests.significant(cut)
    called = up | down
    labels = types.loc[types["scheme"] == scheme, "type"].to_numpy(dtype=str)
    columns = [(name, called[:, index]) for index, name in enumerate(tests.sets)]
    rows = []
    for name, own in [*columns, (None, called.any(axis=1))]:
        significant = int(own.sum())
        for label in LABELS:
            features = int((own & (labels == label)).sum())
            share = features / significant if significant else np.nan
            rows.append((tests.sae, name, label, features, significant, share))
    frame = pd.DataFrame(rows, columns=list(SET_COVERAGE.columns))
    return frame.astype({"sae": "str", "set": "str", "type": "str"})


def by_label(coverage: pd.DataFrame) -> pd.DataFrame:
    """Sums over layers, a row a set, the one of most features first; `ANY` stands for any of them.

    Columns: one for each type, `untyped`, `typed`, `significant` (typed and untyped) and `share` (typed of
    significant; NaN where there is none). coverage: the table `set_coverage` of a study and view.
    """
    named = coverage.assign(set=coverage["set"].fillna(ANY))
    found = named.pivot_table(index="set", columns="type", values="features", aggfunc="sum", fill_value=0)
    missed = [name for name in UNTYPED if name in found]
    types = [name for name in LABELS if name in found and name not in UNTYPED]
    found["untyped"] = found[missed].sum(axis=1)
    found["typed"] = found[types].sum(axis=1)
    found["significant"] = found["typed"] + found["untyped"]
    found["share"] = found["typed"] / found["significant"].where(found["significant"] > 0)
    order = found.sort_values(["significant", "typed"], ascending=False, kind="stable")
    return order[[*types, "untyped", "typed", "significant", "share"]].rename_axis(columns=None)
