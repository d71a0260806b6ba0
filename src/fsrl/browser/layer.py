"""One layer's tables -> the columns of its table of features, and what each feature's page shows besides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsrl.errors import FsrlError
from fsrl.names import LABELS
from fsrl.pages import record
from fsrl.pages.record import MOMENTS, PAGE_DIGITS, numbers, short
from fsrl.pages.sets import SIDES, ListedSets
from fsrl.types.select import typed

# Columns of the table `moments`, null where infinite (no tail that few tokens make).
TAILS = ("tail_tokens", "left_tail_tokens")
# Which of the effects the table shows.
EFFECT = {"direction": "feature", "prediction": "direct", "state": "active", "step": "+1"}
EFFECTS = ("state", "step", "positions", "pearson", "spearman", "slope", "overlap", "kept", "measured_type")


@dataclass(frozen=True, eq=False)
class Shown:
    """A layer's moments, extremes and histograms in one view."""

    moments: pd.DataFrame
    extremes: pd.DataFrame
    histograms: pd.DataFrame


@dataclass(frozen=True, eq=False)
class LayerTables:
    """What a study holds of one SAE; None where it has no such table.

    reads: of a transcoder, the hook that it reads; it writes to `hook`.
    shown: in the site's view; types: all schemes; null: directions of the bounding kinds, with `kind` and the
    moments in `record.RANKED`; shapes: the table `null_shapes`; transported: in a view with transport.
    sets: the tested sets, in the order of the columns of z, t and log10_p [features, n_sets].
    """

    sae: str
    hook: str
    shown: Shown
    types: pd.DataFrame
    neighbours: pd.DataFrame
    shapes: pd.DataFrame
    null: pd.DataFrame
    sets: Sequence[str] = ()
    statistics: Mapping[str, np.ndarray] | None = None
    best_sets: pd.DataFrame | None = None
    scores: pd.DataFrame | None = None
    effects: pd.DataFrame | None = None
    agreement: pd.DataFrame | None = None
    explanations: pd.DataFrame | None = None
    contexts: pd.DataFrame | None = None
    transported: Shown | None = None
    reads: str | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """columns: of all features, by name; page: feature -> what its page shows too; bounds: of the null."""

    columns: dict[str, list[Any]]
    page: Callable[[int], dict[str, Any]]
    bounds: dict[str, list[float | None]]


def of_tables(tables: LayerTables, *, scheme: str, saes: Sequence[str], sets: Sequence[str]) -> Layer:
    """One layer, as a site shows it.

    saes, sets: of the study: SAEs and sets are told by their places there. FsrlError for tables that are not
    of the same features.
    """
    frame = typed(tables.shown.moments, tables.types, scheme).sort_values("feature", ignore_index=True)
    n = len(frame)
    _demand_all(n, tables)
    place = {name: number for number, name in enumerate(sets)}
    columns: dict[str, list[Any]] = {name: numbers(frame[name]) for name in (*MOMENTS, *TAILS, "evidence")}
    columns["type"] = [LABELS.index(name) for name in frame["type"]]
    columns["dead"] = [int(value) for value in ~frame["alive"].fillna(True).astype(bool)]
    columns |= _tokens(tables.shown.extremes, n)
    columns |= _best(tables.best_sets, place)
    columns |= _effect(tables.agreement, n)
    columns |= _explained(tables.explanations, n)
    percentiles = record.ranks(frame, tables.null)
    parts: list[Callable[[int], dict[str, Any]]] = [
        _page_of_view(tables.shown),
        lambda feature: {"ranks": {key: row[feature] for key, row in percentiles.items()}},
        _page_of_sets(tables, place),
        _page_of_effects(tables.effects, tables.agreement),
        _page_of_neighbours(tables.neighbours, tables.sae, saes),
        _page_of_contexts(tables.contexts),
        _page_of_transport(tables.transported, n),
    ]
    return Layer(
        columns,
        lambda feature: {key: value for part in parts for key, value in part(feature).items()},
        _bounds(tables.null),
    )


def _demand_all(n: int, tables: LayerTables) -> None:
    for name, frame in (("histograms", tables.shown.histograms), ("best_sets", tables.best_sets)):
        if frame is not None and frame["feature"].tolist() != list(range(n)):
            raise FsrlError(f"{tables.sae}: table {name} has not a row for each of the {n} features")


def _tokens(extremes: pd.DataFrame, n: int) -> dict[str, list[list[int]]]:
    """Token ids of each feature, most extreme first."""
    return {
        side: [ids.tolist() for ids in _of_side(extremes, side, "token_id", n)] for side in ("top", "bottom")
    }


def _of_side(extremes: pd.DataFrame, side: str, column: str, n: int) -> list[np.ndarray]:
    rows = extremes[extremes["side"] == side].sort_values(["feature", "rank"], kind="stable")
    return _by_feature(rows["feature"].to_numpy(), rows[column].to_numpy(), n)


def _by_feature(feature: np.ndarray, values: np.ndarray, n: int) -> list[np.ndarray]:
    """The values of each feature; rows are in the order of the features."""
    starts = np.searchsorted(feature, np.arange(n + 1))
    return [values[a:b] for a, b in zip(starts[:-1], starts[1:], strict=True)]


def _best(best: pd.DataFrame | None, place: Mapping[str, int]) -> dict[str, list[Any]]:
    if best is None:
        return {}
    found: dict[str, list[Any]] = {}
    for side in SIDES:
        found[side] = [place.get(name) for name in best[side]]
        found[f"{side}_log10_q"] = numbers(best[f"{side}_log10_q"])
    return found


def _effect(agreement: pd.DataFrame | None, n: int) -> dict[str, list[Any]]:
    """The measured effect that the table shows: one row a feature that was measured."""
    if agreement is None:
        return {}
    rows = agreement
    for column, value in EFFECT.items():
        rows = rows[rows[column] == value]
    return {"effect": numbers(rows.set_index("feature")["pearson"].reindex(range(n)))}


def _explained(explanations: pd.DataFrame | None, n: int) -> dict[str, list[Any]]:
    """Every explanation of a feature: [text, by whom], in the table's order; none: an empty list."""
    if explanations is None:
        return {}
    found: list[list[list[str]]] = [[] for _ in range(n)]
    rows = explanations[["feature", "description", "model", "type"]].astype(object)
    rows = rows.where(rows.notna(), None)
    for feature, *said in rows.itertuples(index=False):
        found[feature].append(record.of_explanation(*said))
    return {"explanations": found}


def _bounds(null: pd.DataFrame) -> dict[str, list[float | None]]:
    """Quantiles .001 and .999 of skewness and kurtosis of null directions, of the kind that reaches most."""
    found = {}
    for name in ("skewness", "kurtosis"):
        each = null.groupby("kind")[name].quantile([0.001, 0.999]).unstack()
        found[name] = [short(each[0.001].min()), short(each[0.999].max())]
    return found


def _short(value: float | None) -> float | int | None:
    return short(value, PAGE_DIGITS)


def _page_of_view(shown: Shown) -> Callable[[int], dict[str, Any]]:
    n = len(shown.moments)
    weights = {side: _of_side(shown.extremes, side, "weight", n) for side in ("top", "bottom")}
    histograms = shown.histograms
    counts, under, over = (histograms[name].to_numpy() for name in ("counts", "underflow", "overflow"))
    spread = shown.moments.sort_values("feature")[["mean", "std"]].to_numpy(dtype=np.float64)

    def page(feature: int) -> dict[str, Any]:
        """Weights of its extreme tokens, the filled bins of its histogram, mean and std."""
        extreme = {side: found[feature] for side, found in weights.items()}
        beyond = (under[feature], over[feature])
        return record.of_weights(extreme, counts[feature], beyond, spread[feature].tolist())

    return page


def _page_of_sets(tables: LayerTables, place: Mapping[str, int]) -> Callable[[int], dict[str, Any]]:
    if tables.statistics is None or tables.best_sets is None:
        return lambda feature: {}
    listed = ListedSets(tables.sets, tables.statistics, tables.best_sets, tables.scores)
    return lambda feature: {"sets": [record.of_set(place[row.set], row) for row in listed(feature)]}


def _page_of_effects(
    effects: pd.DataFrame | None, agreement: pd.DataFrame | None
) -> Callable[[int], dict[str, Any]]:
    """Rows as EFFECTS by the direct weights, and the correlation of a matched control in its place."""
    if effects is None or agreement is None:
        return lambda feature: {}
    keys = ["feature", "state", "step"]
    direct = agreement[agreement["prediction"] == "direct"].set_index(keys)
    rows = effects[effects["direction"] == "feature"].set_index(keys)[["kept", "measured_type"]]
    rows = direct[direct["direction"] == "feature"].join(rows)
    rows = rows.join(direct.loc[direct["direction"] == "matched", "pearson"].rename("matched")).reset_index()
    found: dict[int, list[list[Any]]] = {}
    for feature, state, step, *values, kind, beside in rows[["feature", *EFFECTS, "matched"]].itertuples(
        index=False
    ):
        found.setdefault(feature, []).append([state, step, *map(_short, values), kind, _short(beside)])
    return lambda feature: {"effects": found[feature]} if feature in found else {}


def _page_of_neighbours(
    neighbours: pd.DataFrame, own: str, saes: Sequence[str]
) -> Callable[[int], dict[str, Any]]:
    """near: [feature, cosine] of this layer; same: the nearest of each layer, in order, null for this one."""
    n = int(neighbours["feature"].max()) + 1
    near = neighbours[neighbours["sae"] == own].sort_values(["feature", "rank"], kind="stable")
    features = near["feature"].to_numpy()
    ids, cosines = (_by_feature(features, near[name].to_numpy(), n) for name in ("neighbour", "cosine"))
    others = {
        sae: neighbours[neighbours["sae"] == sae].sort_values("feature")[["neighbour", "cosine"]].to_numpy()
        for sae in saes
        if sae != own
    }

    def pair(feature: float, cosine: float) -> list[Any]:
        return [int(feature), short(cosine, 4)]

    def page(feature: int) -> dict[str, Any]:
        """[neighbour, cosine] of the nearest of its own layer, and of the nearest of each other one."""
        return {
            "near": [pair(*row) for row in zip(ids[feature], cosines[feature], strict=True)],
            "same": [None if sae == own else pair(*others[sae][feature]) for sae in saes],
        }

    return page


def _page_of_contexts(contexts: pd.DataFrame | None) -> Callable[[int], dict[str, Any]]:
    if contexts is None:
        return lambda feature: {}
    found: dict[int, list[list[Any]]] = {}
    columns = ["feature", "activation", "peak", "token_ids", "shares"]
    rows = contexts.sort_values(["feature", "rank"], kind="stable")[columns]
    for feature, activation, peak, ids, shares in rows.itertuples(index=False):
        row = record.of_context(activation, peak, ids.tolist(), shares.tolist())
        found.setdefault(feature, []).append(row)
    return lambda feature: {"examples": found.get(feature, [])}


def _page_of_transport(shown: Shown | None, n: int) -> Callable[[int], dict[str, Any]]:
    if shown is None:
        return lambda feature: {}
    moments = {name: numbers(shown.moments[name]) for name in MOMENTS}
    tokens, rest = _tokens(shown.extremes, n), _page_of_view(shown)

    def page(feature: int) -> dict[str, Any]:
        own = {name: values[feature] for name, values in (moments | tokens).items()}
        return {"transported": own | rest(feature)}

    return page
