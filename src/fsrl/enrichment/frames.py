"""From the tensors of `fsrl.enrichment` to the tables of `fsrl.tables.enrichment`."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int, Int32, Shaped

from fsrl.enrichment.best_sets import BestSets
from fsrl.enrichment.scores import SignedScores
from fsrl.enrichment.statistics import SetStatistics
from fsrl.errors import FsrlError
from fsrl.tables.enrichment import ENRICHMENT, ODDS_RATIOS


def enrichment_frame(statistics: SetStatistics, sets: Sequence[str]) -> pd.DataFrame:
    """The table `enrichment`, features in order and for each of them the sets in the given order.

    Raises FsrlError where there are not as many names as sets.
    """
    n_features, n_sets = statistics.z.shape
    if n_sets != len(sets):
        raise FsrlError(f"enrichment table: statistics of {n_sets} sets for {len(sets)} names")
    names = pd.Categorical.from_codes(np.tile(np.arange(n_sets), n_features), list(sets))
    columns = {
        "feature": np.repeat(np.arange(n_features, dtype=np.int32), n_sets),
        "set": pd.Series(names).astype("str"),
    }
    for name in list(ENRICHMENT.columns)[2:]:
        values = getattr(statistics, name)
        absent = np.full(n_features * n_sets, np.nan, dtype=np.float32)
        columns[name] = absent if values is None else values.numpy().reshape(-1)
    return pd.DataFrame(columns)


def best_sets_frame(
    best: BestSets,
    sets: Sequence[str],
    *,
    eta2: Float[np.ndarray, "features n_sets"],
    clusters: Shaped[np.ndarray, "features"],
    counts: tuple[Int[np.ndarray, "features"], Int[np.ndarray, "features"]],
) -> pd.DataFrame:
    """The table `best_sets`.

    best: rows of `sets` and their p and q; counts: significant promoted and suppressed sets of each feature.
    """
    frame = pd.DataFrame({"feature": np.arange(len(eta2), dtype=np.int32)})
    frame["cluster"] = clusters.astype(np.int32)
    names = np.array([*sets, None], dtype=object)
    for side in ("promoted", "suppressed"):
        index = getattr(best, side).numpy()
        frame[side] = pd.Series(names[index], dtype="str")  # -1, none, is the last
        for suffix in ("log10_p", "log10_q"):
            frame[f"{side}_{suffix}"] = getattr(best, f"{side}_{suffix}").numpy()
        own = np.take_along_axis(eta2, np.maximum(index, 0)[:, None], axis=1)[:, 0]
        frame[f"{side}_eta2"] = np.where(index < 0, np.float32("nan"), own).astype(np.float32)
    frame["n_promoted"], frame["n_suppressed"] = (count.astype(np.int32) for count in counts)
    return frame


def scores_frame(
    scores: SignedScores, features: Int[np.ndarray, "features"], sets: Sequence[str]
) -> pd.DataFrame:
    """The table `scores` for the features and sets that the scores were computed for."""
    names = np.array(sets, dtype=object)
    return pd.DataFrame(
        {
            "feature": np.repeat(features.astype(np.int32), len(names)),
            "set": pd.Series(np.tile(names, len(features)), dtype="str"),
            "auc": scores.auc.numpy().reshape(-1).astype(np.float32),
            "es": scores.es.numpy().reshape(-1).astype(np.float32),
        }
    )


def most_extreme(types: pd.DataFrame, scheme: str, count: int) -> Int32[np.ndarray, "features"]:
    """Features (ascending) of the `count` largest margins of each type of a scheme.

    types: table `types` of one layer. Features without a type are never among them.
    """
    mine = types[(types["scheme"] == scheme) & ~types["type"].isin(("unclassified", "degenerate"))]
    chosen = mine.sort_values("margin", ascending=False, kind="stable").groupby("type").head(count)
    return np.sort(chosen["feature"].to_numpy(dtype=np.int32))


def sides(odds: Iterable[tuple[str, pd.DataFrame]], sets: Sequence[str]) -> pd.DataFrame:
    """The table `odds_ratios` from (side, result of `fsrl.stats.odds.odds_ratios`) pairs."""
    frames = []
    for side, frame in odds:
        named = frame.assign(side=side, set=[sets[index] for index in frame["set"]])
        frames.append(named[list(ODDS_RATIOS.columns)])
    return pd.concat(frames, ignore_index=True).astype({"side": "str", "set": "str", "type": "str"})


def token_sets_frame(sets: pd.DataFrame) -> pd.DataFrame:
    """The frame of `fsrl.tokens.sets.token_sets` as the table `token_sets` holds it."""
    frame = sets.reset_index(drop=True)
    frame.insert(0, "token_id", np.arange(len(frame), dtype=np.int32))
    return frame


def null_p_values_frame(
    log10_p: Mapping[str, Float64[np.ndarray, "draws n_sets"]], sets: Sequence[str], sae: str
) -> pd.DataFrame:
    """The table `null_p_values` of one layer, from `fsrl.enrichment.calibration.null_log10_p`; sets:
    names."""
    draws = len(log10_p["t"])
    return pd.DataFrame(
        {
            "sae": sae,
            "draw": np.repeat(np.arange(draws, dtype=np.int32), len(sets)),
            "set": np.tile(np.asarray(sets, dtype=object), draws),
            "log10_p_t": log10_p["t"].ravel(),
            "log10_p_z": log10_p["z"].ravel(),
        }
    ).astype({"sae": "str", "set": "str"})
