"""The table `ablations` summed over layers, for tables and numbers; loads no torch."""

import pandas as pd

from fsrl.names import BOUNDING
from fsrl.tables.sensitivity import BY_CHANCE

# Ablations (`fsrl.claims.ablations`), and the labels that stand beside the types.
DRAWS, NULLS, READING = "draws", "nulls", "reading"
TYPED, EVIDENT = "typed", "evident"
# What `draws` begins with: those that bound the study's own types, judged by its fresh ones.
AS_IS = "as is"
KEYS = ["ablation", "case", "part", "label"]


def alone(kind: str) -> str:
    """The case in which this kind of null alone bounds the types."""
    return f"{kind} alone"


def over_layers(ablations: pd.DataFrame) -> pd.DataFrame:
    """Sums over layers, a row for each ablation, case, part and label, in their order.

    Columns: those of the table; `expected`, what the null that gives most would give over the layers;
    `jaccard`, the overlap with what the case is compared with (NaN where neither has the label). Draws are
    those of one layer.
    """
    summed = ["features", "other", "both", *BY_CHANCE]
    found = ablations.groupby(KEYS, sort=False).agg(
        {**{f"draws_{kind}": "max" for kind in BOUNDING}, **dict.fromkeys(summed, "sum")}
    )
    either = found["features"] + found["other"] - found["both"]
    # A kind that was not drawn has sums of nought.
    found["expected"] = found[BY_CHANCE].max(axis=1)
    found["jaccard"] = (found["both"] / either).where(either > 0)
    return found.reset_index()
