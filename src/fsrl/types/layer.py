"""The tables of types of one layer, in all the views that are typed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int64

from fsrl.nulls.quantiles import Bounds
from fsrl.types import chance, classify, tails
from fsrl.types.rules import Scheme, TailScheme


@dataclass(frozen=True, eq=False)
class Seen:
    """A layer in one view.

    moments: table `moments`; known: what is kept of its nulls (`fsrl.nulls.quantiles.bounds`); fresh: table
    `null` of directions of all kinds that set no bound.
    """

    moments: pd.DataFrame
    known: Bounds
    fresh: pd.DataFrame


def of_views(
    schemes: Sequence[Scheme | TailScheme],
    seen: Mapping[str, Seen],
    clusters: Int64[np.ndarray, "features"],
    *,
    d_model: int,
    seed: int,
) -> Iterator[tuple[str, dict[str, pd.DataFrame]]]:
    """Each view in turn with its tables by name: types, type_counts, type_null_counts, thresholds, tails and
    tail_calibration.

    A scheme with a view of its own, one of `seen`, reads that one whichever view is typed, and is counted
    once. clusters: of the features, as `fsrl.stats.odds.decoder_clusters` gives them; seed: of the intervals.
    Raises the errors of `fsrl.types.classify.typing_of` and `fsrl.types.chance.type_counts`.
    """
    counted: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    for view, here in seen.items():
        parts = []
        for scheme in schemes:
            key = scheme.name, scheme.view or view
            if key not in counted:
                typing = classify.typing_of(scheme, seen[key[1]].moments, here.known, d_model=d_model)
                counted[key] = _of_scheme(typing, seen[key[1]].fresh, clusters, seed)
            parts.append(counted[key])
        found = {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}
        found["tails"] = tails.tails_frame(here.moments, here.known)
        found["tail_calibration"] = tails.calibration(here.fresh, tails.bounding(here.known))
        yield view, found


def _of_scheme(
    typing: classify.Typing, fresh: pd.DataFrame, clusters: Int64[np.ndarray, "features"], seed: int
) -> dict[str, pd.DataFrame]:
    by_chance = chance.chance(typing, fresh)
    return {
        "types": classify.types(typing),
        "type_counts": chance.type_counts(typing, by_chance, clusters, seed=seed),
        "type_null_counts": chance.type_null_counts(typing, by_chance),
        "thresholds": typing.thresholds(),
    }
