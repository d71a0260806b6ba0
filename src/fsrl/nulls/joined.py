"""A layer's null directions of all kinds, from the tables that hold them; light, for figures."""

from collections.abc import Iterable

import pandas as pd


def joined(shared: pd.DataFrame | None, own: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Null directions, or what is kept of them: those that layers share, then the layer's own; column `kind`.

    A kind that the layer has of its own, as it has isotropic ones in a view with transport
    (`fsrl.nulls.carried`), takes the place of the shared one.
    """
    parts = list(own)
    if shared is None:
        return pd.concat(parts, ignore_index=True)
    own_kinds = {kind for part in parts for kind in part["kind"].unique()}
    return pd.concat([shared[~shared["kind"].isin(own_kinds)], *parts], ignore_index=True)
