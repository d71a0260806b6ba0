"""Types and layers as figures, pages and LaTeX tables name them, and the rows that belong to a scheme.

Nothing here knows of a figure: what is printed without one does not depend on how figures look.
"""

import numpy as np
import pandas as pd

from fsrl.errors import FsrlError


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


def values(frame: pd.DataFrame, column: str) -> pd.Series:
    """A column without its nulls; "std / norm" divides by the direction's norm, since norms vary."""
    name, _, norm = column.partition(" / ")
    series = frame[name] / frame["norm"] if norm else frame[name]
    return series.astype("float64").replace([np.inf, -np.inf], np.nan).dropna()
