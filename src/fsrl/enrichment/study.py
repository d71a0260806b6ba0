"""What follows from a study's enrichment tests in one view, layer by layer, once the false discovery rate is
known.

The rate is one over all features, sets and layers (`fsrl.enrichment.best_sets.of_study`); everything here is
of one layer: each feature's best sets, each type's odds ratios, signed scores, exemplars split by their best
set, and the row of the table `discoveries`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Int32, Int64

from fsrl.enrichment import best_sets, scores, splits
from fsrl.stats import odds
from fsrl.tables.enrichment import ODDS_RATIOS
from fsrl.weights.matrices import View


@dataclass(frozen=True, eq=False)
class LayerTests:
    """One layer's tests, NaN where not tested: t, eta2, log10_p and log10_q of t's own null,
    log10_p of t within strata of frequency; sets: their names.
    """

    sae: str
    sets: list[str]
    t: Float32[np.ndarray, "features n_sets"]
    eta2: Float32[np.ndarray, "features n_sets"]
    log10_p: Float32[np.ndarray, "features n_sets"]
    log10_q: Float32[np.ndarray, "features n_sets"]
    log10_p_stratified: Float32[np.ndarray, "features n_sets"]

    def significant(
        self, cut: float
    ) -> tuple[Bool[np.ndarray, "features n_sets"], Bool[np.ndarray, "features n_sets"]]:
        """Which sets are significantly promoted, and which suppressed, at this cut of log10 p."""
        return best_sets.significant(self.t, self.log10_p, cut)


@dataclass(frozen=True, eq=False)
class LayerTables:
    """The tables of these names (`fsrl.tables.enrichment`) of one layer."""

    best_sets: pd.DataFrame
    odds_ratios: pd.DataFrame
    scores: pd.DataFrame
    splits: pd.DataFrame


def layer_tables(
    tests: LayerTests,
    cut: float,
    view: View,
    members: pd.DataFrame,
    types: pd.DataFrame,
    clusters: Int64[np.ndarray, "features"],
    tokens: tuple[str, ...],
    *,
    scheme: str,
    settings: Mapping[str, Any],
) -> LayerTables:
    """The tables of one layer.

    cut: the study's largest significant log10 p (NaN: none); members: the table of token sets, a row a token
    id; types: table `types` of the layer; clusters: of its features (`fsrl.stats.odds.decoder_clusters`);
    tokens: as stored, a token id each; scheme: whose labels are used; settings: bootstrap, seed and scored,
    as `enrichment` in the config.
    """
    up, down = tests.significant(cut)
    best = best_sets.best_sets_frame(
        best_sets.best_sets(*map(torch.from_numpy, (tests.t, tests.log10_p, tests.log10_q))),
        tests.sets,
        eta2=tests.eta2,
        clusters=clusters,
        counts=(up.sum(axis=1), down.sum(axis=1)),
    )
    labels = types.loc[types["scheme"] == scheme, "type"].to_numpy(dtype=str)
    draws = {"draws": settings["bootstrap"], "seed": settings["seed"]}
    ratios = [
        (side, odds.odds_ratios(flags, labels, clusters, **draws))
        for side, flags in (("promoted", up), ("suppressed", down))
    ]
    kept = members.iloc[view.token_ids.numpy()]
    chosen = most_extreme(types, scheme, settings["scored"])
    columns = torch.from_numpy(kept[tests.sets].to_numpy().T.copy())
    scored = scores.signed_scores(view.W_dec, view.W_U, columns, torch.from_numpy(chosen))
    return LayerTables(
        best,
        sides(ratios, tests.sets),
        scores.scores_frame(scored, chosen, tests.sets),
        _splits(splits.best_exemplars(types, best, scheme=scheme), view, kept, tokens),
    )


def _splits(
    exemplars: pd.DataFrame, view: View, members: pd.DataFrame, tokens: tuple[str, ...]
) -> pd.DataFrame:
    """members: of the view's tokens."""
    named = [tokens[token_id] for token_id in view.token_ids]
    found = []
    for row in exemplars.itertuples(index=False):
        weights = (view.W_dec[row.feature] @ view.W_U).cpu().numpy()
        found.append(splits.split(weights, members[row.set].to_numpy(), named, str(row.side)))
    return splits.splits_frame(exemplars, found)


def discoveries_row(
    tests: LayerTests, study: best_sets.Discoveries, stratified_cut: float, null: pd.DataFrame
) -> dict[str, Any]:
    """A layer's row of the table `discoveries`; stratified is NA where the tokens' counts are unknown.

    null: table `null_discoveries`, of this layer or more.
    """
    up, down = tests.significant(study.cut)
    known = np.isfinite(tests.log10_p_stratified).any()
    number = int(np.isfinite(tests.t).sum())
    mine = null[null["sae"] == tests.sae]
    by_chance = mine["beyond_cut"].div(mine["tests"]).groupby(mine["kind"]).mean() * number
    return {
        "sae": tests.sae,
        "sets": len(tests.sets),
        "tests": number,
        "promoted": int(up.sum()),
        "suppressed": int(down.sum()),
        "features": int((up | down).any(axis=1).sum()),
        "shuffled": float(by_chance["shuffled"]),
        "turned": float(by_chance["turned"]),
        "stratified": int((tests.log10_p_stratified <= stratified_cut).sum()) if known else pd.NA,
        "log10_p_cut": study.cut,
        "level": study.level,
    }


def most_extreme(types: pd.DataFrame, scheme: str, count: int) -> Int32[np.ndarray, "features"]:
    """Features (ascending) of the `count` largest evidence of each type of a scheme.

    types: table `types` of one layer. Features without a type are never among them.
    """
    mine = types[(types["scheme"] == scheme) & ~types["type"].isin(("unclassified", "degenerate"))]
    chosen = mine.sort_values("evidence", ascending=False, kind="stable").groupby("type").head(count)
    return np.sort(chosen["feature"].to_numpy(dtype=np.int32))


def sides(odds: Iterable[tuple[str, pd.DataFrame]], sets: Sequence[str]) -> pd.DataFrame:
    """The table `odds_ratios` from (side, result of `fsrl.stats.odds.odds_ratios`) pairs."""
    frames = []
    for side, frame in odds:
        named = frame.assign(side=side, set=[sets[index] for index in frame["set"]])
        frames.append(named[list(ODDS_RATIOS.columns)])
    return pd.concat(frames, ignore_index=True).astype({"side": "str", "set": "str", "type": "str"})
