"""Which types the features have that significantly promote or suppress a token set, and what types miss."""

import numpy as np
import pandas as pd

from fsrl.enrichment.study import LayerTests
from fsrl.names import LABELS
from fsrl.tables.enrichment import SET_COVERAGE


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
