"""Types and layers as figures, pages and LaTeX tables name them, and the rows that belong to a scheme.

Nothing here knows of a figure: what is printed without one does not depend on how figures look.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fsrl.errors import FsrlError
from fsrl.names import BOUNDING

OFTEN = -1.0  # log10 of a tenth of the tokens: a feature that fires on more is no example of its type


def of_scheme(frame: pd.DataFrame, scheme: str, table: str) -> pd.DataFrame:
    """The rows of one scheme; FsrlError, naming the table and its schemes, if there is none."""
    rows = frame[frame["scheme"] == scheme]
    if rows.empty:
        known = ", ".join(map(str, frame["scheme"].unique())) or "none"
        raise FsrlError(f"table {table}: no rows of scheme {scheme!r}; choose one of: {known}")
    return rows


def scheme_counts(type_counts: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """The rows of one scheme, indexed by type; FsrlError names the schemes that there are."""
    return of_scheme(type_counts, scheme, "type_counts").set_index("type")


def chance_by_kind(null_counts: Sequence[pd.DataFrame], scheme: str) -> pd.DataFrame:
    """Features that each kind of null that bounds the types gives by the layers' bounds, summed over layers.

    null_counts: table `type_null_counts` of each layer. A row a type, a column a kind: sums over types are of
    one kind too, and what stands for chance is the largest of them. FsrlError names the schemes there are.
    """
    rows = of_scheme(pd.concat(null_counts), scheme, "type_null_counts")
    rows = rows[rows["kind"].isin(BOUNDING)]
    return rows.pivot_table(index="type", columns="kind", values="expected_at_bounds", aggfunc="sum")


def typed(moments: pd.DataFrame, types: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """The moments with each feature's `type` and `evidence` under one scheme; FsrlError if one is missing."""
    labels = of_scheme(types, scheme, "types")[["feature", "type", "evidence"]]
    merged = moments.merge(labels, on="feature", how="left", validate="1:1")
    missing = merged.loc[merged["type"].isna(), "feature"]
    if len(missing):
        raise FsrlError(
            f"table types, scheme {scheme}: no type for {len(missing)} features of table moments, the first "
            f"is feature {missing.iloc[0]}; build both from the same SAE and view"
        )
    return merged


def by_evidence(labelled: pd.DataFrame) -> pd.DataFrame:
    """Typed features in the order in which examples are chosen.

    First those that fire on less than a tenth of the tokens, or of which that is unknown: what fires nearly
    always says little about any token. Then by evidence, largest first, then by their number.

    labelled: as `typed` gives it.
    """
    often = labelled["log10_density"].astype("float64") >= OFTEN
    order = labelled.assign(often=often).sort_values(
        ["often", "evidence", "feature"], ascending=[True, False, True], na_position="last", kind="stable"
    )
    return order.drop(columns="often")


def values(frame: pd.DataFrame, column: str) -> pd.Series:
    """A column without its nulls; "std / norm" divides by the direction's norm, since norms vary."""
    name, _, norm = column.partition(" / ")
    series = frame[name] / frame["norm"] if norm else frame[name]
    return series.astype("float64").replace([np.inf, -np.inf], np.nan).dropna()
